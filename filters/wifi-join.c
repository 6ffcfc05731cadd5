/* wifi-join: a source filter that turns access points' log lines into events about the devices on the Wi-Fi.
 *
 * hostapd (OpenWrt and others), and UniFi's wevent and stahtd. Types: wifi.client.joined, .left, .rejected, .roamed;
 * data: mac (lower case, colons), interface, and auth or reason if the line has it.
 * The program's name decides: a line of another program that quotes hostapd is ignored.
 */
#include "edge.h"

/* Words of 14 bytes in the lines of interest: one search skips up to 14 bytes at a time. */
static const char *const NEEDLES[] = {
    "AP-STA-CONNECT", "STA-DISCONNECT", "AP-STA-POSSIBL", "NT-EAP-FAILURE", "EVENT_STA_JOIN", "EVENT_STA_LEAV", "STA_ASSOC_TRAC",
};

typedef struct { const char *type; edge_span interface; uint8_t mac[17]; const char *extra; edge_span value; } found;

static bool is_hex(uint8_t c) { return edge_hex(c) < 16; }
static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool is_upper(uint8_t c) { return c >= 'A' && c <= 'Z'; }

/* Cut the next word off s; spaces and tabs separate. */
static edge_span word(edge_span *s) {
  size_t i = 0, j;
  while (i < s->n && (s->p[i] == ' ' || s->p[i] == '\t')) i++;
  for (j = i; j < s->n && s->p[j] != ' ' && s->p[j] != '\t';) j++;
  edge_span w = edge_make(s->p + i, j - i);
  *s = edge_from(*s, j);
  return w;
}

/* A MAC of 12 hex digits: pairs with ':' or '-', fours with '.', or no separator, the same throughout; nothing may follow. */
static bool parse_mac(edge_span w, uint8_t out[17]) {
  static const char hex[] = "0123456789abcdef";
  size_t group = w.n == 17 ? 2 : w.n == 14 ? 4 : w.n == 12 ? 12 : 0, digits = 0;
  if (!group) return false;
  uint8_t separator = w.n == 12 ? 0 : w.p[group];
  if (group == 4 ? separator != '.' : group == 2 && !memchr(":-.", separator, 3)) return false;
  for (size_t i = 0; i < w.n; i++) {
    if (i % (group + 1) == group) {
      if (w.p[i] != separator) return false;
      continue;
    }
    if (!is_hex(w.p[i])) return false;
    unsigned v = edge_hex(w.p[i]);
    if (digits && digits % 2 == 0) out[digits / 2 * 3 - 1] = ':';
    out[digits / 2 * 3 + digits % 2] = (uint8_t)hex[v];
    digits++;
  }
  return digits == 12;
}

/* An interface's name: one word of any vendor (Linux allows 15 bytes; some of UniFi's names are longer). */
static bool is_interface(edge_span w) {
  if (!w.n || w.n > 32) return false;
  for (size_t i = 0; i < w.n; i++) if (w.p[i] <= ' ' || w.p[i] == 127 || w.p[i] == '"' || w.p[i] == '\\') return false;
  return true;
}

/* ---- the line's header: [<PRI>] [time] [host] [facility.severity] [model and MAC:] program[pid]: ---- */

/* Numbers with a date's signs (07:22:10, 2026-03-04T07:22:10.123+01:00, 4, [1772608269.123]); an IPv4 host matches too. */
static bool is_time(edge_span w) {
  bool digit = false;
  for (size_t i = 0; i < w.n; i++) {
    if (is_digit(w.p[i])) digit = true;
    else if (!memchr(":.,/+-TZ[]()", w.p[i], 12)) return false;
  }
  return digit;
}

/* Mar, Wed, AM, CET, GMT+1: words within a time. */
static bool is_time_word(edge_span w) {
  static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDecMonTueWedThuFriSatSun";
  if (w.n && w.p[w.n - 1] == ',') w.n--;
  if (w.n == 3)
    for (size_t i = 0; i < sizeof names - 1; i += 3) if (!memcmp(names + i, w.p, 3)) return true;
  if (w.n < 2 || w.n > 9 || !is_upper(w.p[0]) || !is_upper(w.p[1])) return false;
  for (size_t i = 2; i < w.n; i++) if (!is_upper(w.p[i]) && !is_digit(w.p[i]) && !memchr("+-:", w.p[i], 3)) return false;
  return true;
}

/* daemon.notice, with or without a colon after it: the place where logread and LuCI print facility and severity. */
static bool is_severity(edge_span w) {
  static const char *const facilities[] = {"daemon", "user", "kern", "auth", "authpriv", "syslog", "cron", "mail", "news", "uucp",
                                           "lpr", "ftp", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"};
  static const char *const severities[] = {"info", "notice", "debug", "warn", "warning", "err", "error", "crit", "alert", "emerg", "panic"};
  if (w.n && w.p[w.n - 1] == ':') w.n--;
  const uint8_t *dot = memchr(w.p, '.', w.n);
  if (!dot) return false;
  edge_span facility = edge_make(w.p, (size_t)(dot - w.p)), severity = edge_from(w, facility.n + 1);
  bool left = false, right = false;
  for (size_t i = 0; i < sizeof facilities / sizeof *facilities; i++) left = left || edge_is(facility, facilities[i]);
  for (size_t i = 0; i < sizeof severities / sizeof *severities; i++) right = right || edge_is(severity, severities[i]);
  return left && right;
}

/* UniFi's remote form: MAC12,MODEL-FW: or MODEL,MAC12,vFW: or ("MODEL,MAC12,vFW") before the program. */
static bool is_device(edge_span w) {
  size_t run = 0;
  for (size_t i = 0; i < w.n; i++) {
    bool edge = i - run == 0 || w.p[i - run - 1] == ',' || w.p[i - run - 1] == '"';
    if (run == 12 && edge && (w.p[i] == ',' || (w.p[i] == '"' && w.p[0] == '('))) return true;
    run = is_hex(w.p[i]) ? run + 1 : 0;
  }
  return false;
}

/* hostapd[123] and /usr/sbin/hostapd mean hostapd. */
static edge_span program_name(edge_span tag) {
  for (size_t i = tag.n; i--;) if (tag.p[i] == '/') { tag = edge_from(tag, i + 1); break; }
  const uint8_t *bracket = memchr(tag.p, '[', tag.n);
  if (!bracket) return tag;
  size_t n = (size_t)(bracket - tag.p), end = edge_digits(tag, n + 1);
  if (end == n + 1 || end + 1 != tag.n || tag.p[end] != ']') return edge_make(tag.p, 0);
  return edge_make(tag.p, n);
}

/* RFC 5424 without its PRI: 1 TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA [MSG]; s becomes the message. */
static bool header_5424(edge_span *s, edge_span *program) {
  word(s); word(s); word(s);
  *program = program_name(word(s));
  word(s); word(s);
  while (s->n && *s->p == ' ') *s = edge_from(*s, 1);
  if (s->n && *s->p == '-') *s = edge_from(*s, 1);
  else if (!s->n || *s->p != '[') return false;
  while (s->n && *s->p == '[') {
    size_t i = 1;
    for (bool quoted = false; i < s->n && (quoted || s->p[i] != ']'); i++) {
      if (s->p[i] == '\\' && quoted) i++;
      else if (s->p[i] == '"') quoted = !quoted;
    }
    *s = edge_from(*s, i + 1);
  }
  if (edge_starts(*s, " \xef\xbb\xbf")) *s = edge_from(*s, 4);
  return true;
}

static bool is_5424(edge_span s) { /* "1 2026-03-04T…" or "1 - " */
  if (s.n < 4 || s.p[0] != '1' || s.p[1] != ' ') return false;
  if (s.p[2] == '-') return s.p[3] == ' ';
  return edge_digits(s, 2) == 6 && s.n > 12 && s.p[6] == '-' && s.p[9] == '-' && s.p[12] == 'T';
}

/* Find the program's name; s becomes the message after it. False if the line does not start like a log line. */
static bool header(edge_span *s, edge_span *program) {
  while (s->n && *s->p == 0) *s = edge_from(*s, 1); /* zero bytes that a power cut left before the line */
  if (s->n && *s->p == '<') {
    size_t i = edge_digits(*s, 1);
    if (i == 1 || i > 4 || i >= s->n || s->p[i] != '>') return false;
    *s = edge_from(*s, i + 1);
  }
  if (is_5424(*s)) return header_5424(s, program);
  if (s->n && *s->p == '[') { /* LuCI puts the time, in the format of the browser's language, in brackets */
    const uint8_t *close = memchr(s->p, ']', s->n < 80 ? s->n : 80);
    if (!close) return false;
    *s = edge_from(*s, (size_t)(close - s->p) + 1);
  }
  bool severity = false, device = false;
  for (unsigned words = 0, names = 0; words < 16; words++) {
    edge_span w = word(s);
    if (!w.n) return false;
    if (is_device(w)) { device = true; continue; }
    if (is_severity(w)) { severity = true; continue; }
    if (w.p[w.n - 1] == ':') {
      *program = program_name(edge_make(w.p, w.n - 1));
      return names <= (device ? 6 : 1);
    }
    if (severity && !device) return false;
    if (!is_time(w) && (names || !is_time_word(w))) names++; /* a host's name may have spaces on UniFi */
  }
  return false;
}

/* ---- the messages ---- */

/* "<interface>: KEYWORD <mac> [name=value ...]" */
static bool hostapd(edge_span s, found *f) {
  edge_span interface = word(&s), keyword = word(&s), mac = word(&s);
  if (interface.n < 2 || interface.p[interface.n - 1] != ':') return false;
  f->interface = edge_make(interface.p, interface.n - 1);
  if (!is_interface(f->interface) || !parse_mac(mac, f->mac)) return false;
  if (edge_is(keyword, "AP-STA-CONNECTED")) {
    f->type = "joined";
    for (edge_span w = word(&s); w.n; w = word(&s))
      if (edge_starts(w, "auth_alg=") && w.n > 9 && w.n < 9 + 32) {
        f->extra = "auth";
        f->value = edge_from(w, 9);
        if (edge_is(f->value, "ft")) f->type = "roamed";
        break;
      }
    return true;
  }
  if (edge_is(keyword, "AP-STA-DISCONNECTED")) { f->type = "left"; return true; }
  bool psk = edge_is(keyword, "AP-STA-POSSIBLE-PSK-MISMATCH");
  if (!psk && !edge_is(keyword, "CTRL-EVENT-EAP-FAILURE2")) return false;
  static const char reasons[] = "psk-mismatcheap-failure";
  f->type = "rejected";
  f->extra = "reason";
  f->value = psk ? edge_make((const uint8_t *)reasons, 12) : edge_make((const uint8_t *)reasons + 12, 11);
  return true;
}

/* "[wevent.ubnt_custom_event(): ]EVENT_STA_JOIN <interface>: <mac> / <aid>" */
static bool wevent(edge_span s, found *f) {
  edge_span keyword = word(&s);
  if (keyword.n > 3 && !memcmp(keyword.p + keyword.n - 3, "():", 3)) keyword = word(&s);
  bool join = edge_is(keyword, "EVENT_STA_JOIN");
  if (!join && !edge_is(keyword, "EVENT_STA_LEAVE")) return false;
  edge_span interface = word(&s);
  if (interface.n < 2 || interface.p[interface.n - 1] != ':') return false;
  f->interface = edge_make(interface.p, interface.n - 1);
  f->type = join ? "joined" : "left";
  return is_interface(f->interface) && parse_mac(word(&s), f->mac);
}

/* "[STA-TRACKER].stahtd_dump_event(): {JSON}", perhaps with text after the closing brace */
static bool stahtd(edge_span s, found *f) {
  edge_span object, value;
  const uint8_t *brace = memchr(s.p, '{', s.n);
  if (!brace) return false;
  s = edge_from(s, (size_t)(brace - s.p));
  if (!edge_json_value(&s, &object)) return false;
  if (!edge_json_member(object, "message_type", &value) || !edge_is(value, "\"STA_ASSOC_TRACKER\"")) return false;
  if (!edge_json_member(object, "mac", &value) || *value.p != '"' || !parse_mac(edge_json_inner(value), f->mac)) return false;
  if (!edge_json_member(object, "vap", &value) || *value.p != '"') return false;
  f->interface = edge_json_inner(value);
  if (!is_interface(f->interface) || !edge_json_member(object, "event_type", &value)) return false;
  if (edge_is(value, "\"association\"") || edge_is(value, "\"success\"")) f->type = "joined";
  else if (edge_is(value, "\"sta_roam\"")) f->type = "roamed";
  else if (edge_is(value, "\"deny\"") || edge_is(value, "\"failure\"")) {
    f->type = "rejected";
    f->extra = "reason";
    f->value = edge_json_inner(value);
  } else return false;
  return true;
}

static bool parse(edge_span line, found *f) {
  edge_span program;
  if (line.n > EDGE_LINE_MAX) return false;
  if (line.n && line.p[line.n - 1] == '\r') line.n--;
  if (!header(&line, &program)) return false;
  if (edge_is(program, "hostapd")) return hostapd(line, f);
  if (edge_is(program, "wevent")) return wevent(line, f);
  if (edge_is(program, "stahtd")) return stahtd(line, f);
  return false;
}

static void put_member(const char *name, edge_span value) {
  edge_puts(",\"");
  edge_puts(name);
  edge_puts("\":");
  edge_put_string(value);
}

static void put_event(uint64_t line, uint64_t at, const found *f) {
  edge_puts("{\"line\":");
  edge_put_number(line);
  edge_puts(",\"at\":");
  edge_put_number(at);
  edge_puts(",\"type\":\"wifi.client.");
  edge_puts(f->type);
  edge_puts("\",\"data\":{\"mac\":\"");
  edge_put(f->mac, sizeof f->mac);
  edge_puts("\"");
  put_member("interface", f->interface);
  if (f->extra) put_member(f->extra, f->value);
  edge_puts("}}\n");
}

int main(void) {
  edge_reader reader = {0};
  edge_finder finder;
  edge_span piece;
  edge_finder_init(&finder, NEEDLES, sizeof NEEDLES / sizeof *NEEDLES);
  while (edge_lines(&reader, &piece)) {
    const uint8_t *p = piece.p, *end = piece.p + piece.n, *hit;
    while ((hit = edge_find(&finder, p, end))) {
      const uint8_t *from = hit, *to = memchr(hit, '\n', (size_t)(end - hit));
      while (from > p && from[-1] != '\n') from--;
      if (!to) to = end;
      found f = {0};
      reader.lines += edge_newlines(p, from);
      if (parse(edge_make(from, (size_t)(to - from)), &f)) put_event(reader.lines + 1, edge_at(&reader, from), &f);
      p = to; /* its newline is counted with the next hit */
    }
    reader.lines += edge_newlines(p, end);
  }
  edge_flush();
  return 0;
}
