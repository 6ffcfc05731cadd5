//! A smaller wifi-join in Zig, as an example: hostapd's lines give the same events as in wifi-join.c (a test compares the two).
//! Other vendors, arguments and access_point are in wifi-join.c only. It does not use edge.h: it shows all parts of a filter
//! in another language.

const std = @import("std");
const mem = std.mem;
const wasi = std.os.wasi;

const line_max = 256 * 1024;
var input: [line_max + 64 * 1024]u8 = undefined;
var output: [64 * 1024]u8 = undefined;
var output_len: usize = 0;

const Event = struct {
    type: []const u8,
    mac: [17]u8,
    interface: []const u8,
    extra: []const u8 = "",
    value: []const u8 = "",
};

// ---- stdin and stdout ----

fn read(into: []u8) usize {
    var n: usize = 0;
    const part = [1]wasi.iovec_t{.{ .base = into.ptr, .len = into.len }};
    if (wasi.fd_read(0, &part, 1, &n) != .SUCCESS) wasi.proc_exit(3);
    return n;
}

fn flush() void {
    var from: usize = 0;
    while (from < output_len) {
        var n: usize = 0;
        const part = [1]wasi.ciovec_t{.{ .base = output[from..].ptr, .len = output_len - from }};
        if (wasi.fd_write(1, &part, 1, &n) != .SUCCESS or n == 0) wasi.proc_exit(4);
        from += n;
    }
    output_len = 0;
}

fn put(text: []const u8) void {
    for (text) |byte| {
        if (output_len == output.len) flush();
        output[output_len] = byte;
        output_len += 1;
    }
}

/// Any bytes as a JSON string: each byte that is not UTF-8 becomes \u00XX.
fn putString(text: []const u8) void {
    put("\"");
    var i: usize = 0;
    while (i < text.len) {
        const n: usize = std.unicode.utf8ByteSequenceLength(text[i]) catch 0;
        if (n > 0 and i + n <= text.len and std.unicode.utf8ValidateSlice(text[i..][0..n]) and
            text[i] >= 0x20 and text[i] != '"' and text[i] != '\\')
        {
            put(text[i..][0..n]);
            i += n;
        } else {
            const hex = "0123456789abcdef";
            put(&[_]u8{ '\\', 'u', '0', '0', hex[text[i] >> 4], hex[text[i] & 15] });
            i += 1;
        }
    }
    put("\"");
}

fn putNumber(number: u64) void {
    var digits: [20]u8 = undefined;
    var at: usize = digits.len;
    var rest = number;
    while (true) {
        at -= 1;
        digits[at] = '0' + @as(u8, @intCast(rest % 10));
        rest /= 10;
        if (rest == 0) break;
    }
    put(digits[at..]);
}

fn putEvent(line: u64, at: u64, event: Event) void {
    put("{\"line\":");
    putNumber(line);
    put(",\"at\":");
    putNumber(at);
    put(",\"type\":\"wifi.client.");
    put(event.type);
    put("\",\"data\":{\"mac\":\"");
    put(&event.mac);
    put("\",\"interface\":");
    putString(event.interface);
    if (event.extra.len > 0) {
        put(",");
        putString(event.extra);
        put(":");
        putString(event.value);
    }
    put("}}\n");
}

// ---- words ----

/// The rest of a line, cut into words at spaces and tabs.
const Words = struct {
    rest: []const u8,

    fn next(self: *Words) []const u8 {
        const start = mem.findNone(u8, self.rest, " \t") orelse self.rest.len;
        const end = mem.findAnyPos(u8, self.rest, start, " \t") orelse self.rest.len;
        const word = self.rest[start..end];
        self.rest = self.rest[end..];
        return word;
    }
};

fn isOneOf(word: []const u8, list: []const u8) bool {
    var each = mem.tokenizeScalar(u8, list, ' ');
    while (each.next()) |candidate| if (mem.eql(u8, candidate, word)) return true;
    return false;
}

fn only(word: []const u8, allowed: []const u8) bool {
    return mem.findNone(u8, word, allowed) == null;
}

fn parseMac(word: []const u8) ?[17]u8 {
    const group: usize = switch (word.len) {
        17 => 2,
        14 => 4,
        12 => 12,
        else => return null,
    };
    const separator = if (group == 12) 0 else word[group];
    if (group != 12 and mem.findScalar(u8, ":-.", separator) == null) return null;
    var out: [17]u8 = @splat(':');
    var digits: usize = 0;
    for (word, 0..) |byte, i| {
        if (i % (group + 1) == group) {
            if (byte != separator) return null;
            continue;
        }
        if (!std.ascii.isHex(byte)) return null;
        out[digits / 2 * 3 + digits % 2] = std.ascii.toLower(byte);
        digits += 1;
    }
    return if (digits == 12) out else null;
}

fn isInterface(word: []const u8) bool {
    if (word.len == 0 or word.len > 64) return false;
    for (word) |byte| if (byte <= ' ' or byte == 127 or byte == '"' or byte == '\\') return false;
    return true;
}

// ---- the header: [<PRI>] [time] [host] [facility.severity] [model and MAC:] program[pid]: ----

const Header = struct { program: []const u8, message: []const u8 };

fn isTime(word: []const u8) bool {
    return only(word, "0123456789:.,/+-TZ[]()") and mem.findAny(u8, word, "0123456789") != null;
}

fn isTimeWord(with_comma: []const u8) bool {
    const word = mem.trimEnd(u8, with_comma, ",");
    if (with_comma.len > word.len + 1) return false;
    if (isOneOf(word, "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec Mon Tue Wed Thu Fri Sat Sun")) return true;
    if (word.len < 2 or word.len > 9) return false;
    return std.ascii.isUpper(word[0]) and std.ascii.isUpper(word[1]) and only(word[2..], "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-:");
}

fn isSeverity(with_colon: []const u8) bool {
    const word = if (mem.endsWith(u8, with_colon, ":")) with_colon[0 .. with_colon.len - 1] else with_colon;
    const dot = mem.findScalar(u8, word, '.') orelse return false;
    return isOneOf(word[0..dot], "daemon user kern auth authpriv syslog cron mail news uucp lpr ftp " ++
        "local0 local1 local2 local3 local4 local5 local6 local7") and
        isOneOf(word[dot + 1 ..], "info notice debug warn warning err error crit alert emerg panic");
}

fn isDevice(word: []const u8) bool {
    var run: usize = 0;
    for (word, 0..) |byte, i| {
        const edge = i == run or word[i - run - 1] == ',' or word[i - run - 1] == '"';
        if (run == 12 and edge and (byte == ',' or (byte == '"' and word[0] == '('))) return true;
        run = if (std.ascii.isHex(byte)) run + 1 else 0;
    }
    return false;
}

fn programName(tag: []const u8) []const u8 {
    const base = if (mem.findScalarLast(u8, tag, '/')) |slash| tag[slash + 1 ..] else tag;
    const bracket = mem.findScalar(u8, base, '[') orelse return base;
    const pid = base[bracket + 1 ..];
    if (pid.len < 2 or pid[pid.len - 1] != ']' or !only(pid[0 .. pid.len - 1], "0123456789")) return "";
    return base[0..bracket];
}

fn is5424(line: []const u8) bool {
    if (line.len < 4 or !mem.startsWith(u8, line, "1 ")) return false;
    if (line[2] == '-') return line[3] == ' ';
    return line.len > 12 and only(line[2..6], "0123456789") and line[6] == '-' and line[9] == '-' and line[12] == 'T';
}

/// RFC 5424: 1 TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA [MSG]
fn header5424(line: []const u8) ?Header {
    var words = Words{ .rest = line[1..] };
    _ = words.next();
    _ = words.next();
    const program = programName(words.next());
    _ = words.next();
    _ = words.next();
    var rest = mem.trimStart(u8, words.rest, " ");
    if (rest.len == 0) return null;
    if (rest[0] == '-') {
        rest = rest[1..];
    } else if (rest[0] != '[') return null;
    while (rest.len > 0 and rest[0] == '[') {
        var i: usize = 1;
        var quoted = false;
        while (i < rest.len and (quoted or rest[i] != ']')) : (i += 1) {
            if (rest[i] == '\\' and quoted) {
                i += 1;
            } else if (rest[i] == '"') quoted = !quoted;
        }
        rest = rest[@min(i + 1, rest.len)..];
    }
    if (mem.startsWith(u8, rest, " \xef\xbb\xbf")) rest = rest[4..];
    return .{ .program = program, .message = rest };
}

fn parseHeader(whole: []const u8) ?Header {
    var line = mem.trimStart(u8, whole, "\x00");
    if (line.len > 0 and line[0] == '<') {
        const close = mem.findScalar(u8, line, '>') orelse return null;
        if (close < 2 or close > 4 or !only(line[1..close], "0123456789")) return null;
        line = line[close + 1 ..];
    }
    if (is5424(line)) return header5424(line);
    if (line.len > 0 and line[0] == '[') {
        const close = mem.findScalar(u8, line[0..@min(80, line.len)], ']') orelse return null;
        line = line[close + 1 ..];
    }
    var words = Words{ .rest = line };
    var severity = false;
    var device = false;
    var names: usize = 0;
    for (0..16) |_| {
        const word = words.next();
        if (word.len == 0) return null;
        if (isDevice(word)) {
            device = true;
        } else if (isSeverity(word)) {
            severity = true;
        } else if (word[word.len - 1] == ':') {
            if (names > @as(usize, if (device) 6 else 1)) return null;
            return .{ .program = programName(word[0 .. word.len - 1]), .message = words.rest };
        } else {
            if (severity and !device) return null;
            if (only(word, "#>|*$-")) return null; // a line that somebody quotes
            if (!isTime(word) and (names > 0 or !isTimeWord(word))) names += 1;
        }
    }
    return null;
}

// ---- the messages ----

fn interfaceOf(word: []const u8) ?[]const u8 {
    if (!mem.endsWith(u8, word, ":") or !isInterface(word[0 .. word.len - 1])) return null;
    return word[0 .. word.len - 1];
}

fn hostapd(message: []const u8) ?Event {
    var words = Words{ .rest = message };
    const interface = interfaceOf(words.next()) orelse return null;
    const keyword = words.next();
    const mac = parseMac(words.next()) orelse return null;
    if (mem.eql(u8, keyword, "AP-STA-DISCONNECTED")) return .{ .type = "left", .mac = mac, .interface = interface };
    if (mem.eql(u8, keyword, "AP-STA-POSSIBLE-PSK-MISMATCH"))
        return .{ .type = "rejected", .mac = mac, .interface = interface, .extra = "reason", .value = "psk-mismatch" };
    if (mem.eql(u8, keyword, "CTRL-EVENT-EAP-FAILURE2"))
        return .{ .type = "rejected", .mac = mac, .interface = interface, .extra = "reason", .value = "eap-failure" };
    if (!mem.eql(u8, keyword, "AP-STA-CONNECTED")) return null;
    var event = Event{ .type = "joined", .mac = mac, .interface = interface };
    while (true) {
        const word = words.next();
        if (word.len == 0) return event;
        if (!mem.startsWith(u8, word, "auth_alg=") or word.len < 10 or word.len > 40) continue;
        event.extra = "auth";
        event.value = word[9..];
        if (mem.eql(u8, event.value, "ft")) event.type = "roamed";
        return event;
    }
}

fn parse(whole: []const u8) ?Event {
    if (whole.len > line_max) return null;
    const line = if (mem.endsWith(u8, whole, "\r")) whole[0 .. whole.len - 1] else whole;
    const header = parseHeader(line) orelse return null;
    if (mem.eql(u8, header.program, "hostapd")) return hostapd(header.message);
    return null;
}

pub fn main() void {
    var held: usize = 0;
    var line: u64 = 1;
    var passed: u64 = 0; // bytes of stdin before the buffer
    var skipping = false; // inside a line that is longer than the buffer
    while (true) {
        const n = read(input[held..]);
        held += n;
        var from: usize = 0;
        while (mem.findScalarPos(u8, input[0..held], from, '\n')) |end| : (from = end + 1) {
            if (!skipping) if (parse(input[from..end])) |event| putEvent(line, passed + from, event);
            skipping = false;
            line += 1;
        }
        if (n == 0) {
            if (!skipping and from < held) if (parse(input[from..held])) |event| putEvent(line, passed + from, event);
            break;
        }
        mem.copyForwards(u8, &input, input[from..held]);
        held -= from;
        passed += from;
        if (held == input.len) {
            skipping = true;
            passed += held;
            held = 0;
        }
    }
    flush();
}
