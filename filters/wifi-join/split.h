/* split.h: the readings of a log line, made of the parts that log-line.h knows. */
#ifndef SPLIT_H
#define SPLIT_H
#include "log-line.h"

typedef struct {
  log_split now;    /* what is known so far */
  edge_span rest;   /* what follows it */
  edge_span first;  /* the first of the words that may be a host's name */
  size_t names;     /* how many such words there were */
  size_t dashes;    /* how many '-' stood for parts that are empty */
  bool severity, numbered, capitals, twice;
  bool fresh; /* the time was read last: RFC 5424's version looks like its beginning */
} log_header;

static void add_reading(log_readings *all, log_split split, edge_span message) {
  if (all->count == LOG_READINGS) return;
  split.message = trimmed(message);
  all->at[all->count++] = split;
}

/* A tag, or three dashes of a controller, shows that the words before it are a name with spaces. */
static bool is_free(const log_header *h) { return h->now.device.n || (h->dashes > 2 && h->now.time.n); }

/* Whether the words so far can be one host: a word; a name twice or with its address; words in capitals; or any before a tag. */
static bool host_fits(const log_header *h) {
  if (h->names < 2 || (h->names == 2 && h->twice)) return true;
  return h->names <= 6 && (is_free(h) || (h->capitals && h->now.time.n));
}

static bool same_host(edge_span a, edge_span b) { /* attic and attic.lan, or a name and an address */
  if (is_address(a) != is_address(b)) return true;
  size_t n = a.n < b.n ? a.n : b.n;
  return n && !memcmp(a.p, b.p, n) && (a.n == b.n || (a.n > n ? a.p[n] : b.p[n]) == '.');
}

/* Begin a header at h->rest: its priority, sequence numbers and time. A second header keeps the first one's host until it has one. */
static void begin(log_header *h) {
  h->names = 0;
  h->capitals = h->twice = false;
  for (int i = 0; i < 4; i++) {
    h->rest = trimmed(h->rest);
    if (edge_starts(h->rest, "\xef\xbb\xbf")) { h->rest = edge_from(h->rest, 3); continue; }
    size_t n = h->rest.n && *h->rest.p == '<' ? edge_digits(h->rest, 1) : 0;
    if (n > 1 && n < 5 && n < h->rest.n && h->rest.p[n] == '>') {
      h->now.priority = edge_make(h->rest.p + 1, n - 1);
      h->rest = edge_from(h->rest, n + 1);
      continue;
    }
    n = edge_digits(h->rest, 0); /* Cisco: 45: */
    if (!n || n > 10 || n + 1 >= h->rest.n || h->rest.p[n] != ':' || !is_space(h->rest.p[n + 1])) break;
    h->rest = edge_from(h->rest, n + 1);
    h->numbered = true;
  }
  h->rest = trimmed(h->rest);
  size_t n = 0;
  if (h->rest.n && *h->rest.p == '[') { /* LuCI puts the time, in the format of the browser's language, in brackets */
    const uint8_t *close = memchr(h->rest.p, ']', h->rest.n < 80 ? h->rest.n : 80);
    edge_span inside = close ? edge_make(h->rest.p + 1, (size_t)(close - h->rest.p) - 1) : edge_make(h->rest.p, 0);
    if (is_number(trimmed(inside))) n = inside.n + 2;
    for (edge_span words = inside, w; (w = word(&words)).n;) if (has_clock(w) && (is_number(w) || *w.p > 127)) n = inside.n + 2;
  }
  if (!n) n = time_length(h->rest, false);
  if (!n) return;
  h->now.time = edge_make(h->rest.p, n);
  h->rest = edge_from(h->rest, n);
  h->fresh = true;
}

static bool is_5424(edge_span s) { /* "1 2026-03-04T…" or "1 - " */
  if (s.n < 4 || s.p[0] != '1' || s.p[1] != ' ') return false;
  if (s.p[2] == '-') return s.p[3] == ' ';
  return edge_digits(s, 2) == 6 && s.n > 12 && s.p[6] == '-' && s.p[9] == '-' && s.p[12] == 'T';
}

static edge_span or_nothing(edge_span w) { return edge_is(w, "-") ? edge_make(w.p, 0) : w; }

/* RFC 5424: 1 TIMESTAMP HOST APP PROCID MSGID [STRUCTURED-DATA] [MSG]; h->rest becomes the message. False without a program. */
static bool header_5424(log_header *h) {
  word(&h->rest);
  h->now.time = or_nothing(word(&h->rest));
  h->now.host = or_nothing(word(&h->rest));
  edge_span app = or_nothing(word(&h->rest)), pid = or_nothing(word(&h->rest));
  word(&h->rest);
  h->rest = trimmed(h->rest);
  if (edge_is(edge_make(h->rest.p, h->rest.n < 2 ? h->rest.n : 2), "- ") || edge_is(h->rest, "-")) h->rest = edge_from(h->rest, 1);
  while (h->rest.n && *h->rest.p == '[') {
    size_t i = 1;
    for (bool quoted = false; i < h->rest.n && (quoted || h->rest.p[i] != ']'); i++) {
      if (h->rest.p[i] == '\\' && quoted) i++;
      else if (h->rest.p[i] == '"') quoted = !quoted;
    }
    h->rest = edge_from(h->rest, i + 1);
  }
  h->rest = trimmed(h->rest);
  if (edge_starts(h->rest, "\xef\xbb\xbf")) h->rest = edge_from(h->rest, 3);
  if (is_topics(app)) h->now.topics = app;
  if (!app.n || h->now.topics.n || !program_of(app, &h->now)) return false;
  if (pid.n) h->now.pid = pid;
  return true;
}

/* A word with a colon after it: a program, or the prefix or host before one. True if a header goes on after it. */
static bool tag(log_header *h, edge_span w, log_readings *all) {
  log_split split = h->now, second = h->now;
  edge_span ahead = h->rest, next = word(&ahead);
  bool prefix = h->names && h->now.time.n && !h->severity; /* log_prefix of OpenWrt */
  if (host_fits(h) && prefix && *w.p == '[' && w.n > 3 && w.p[w.n - 2] == ']' && !time_length(trimmed(h->rest), true)) return true;
  if (!host_fits(h) || !program_of(edge_make(w.p, w.n - 1), &split)) return false;
  bool plain = !split.pid.n && !quotes(split.program) && *w.p != '%';
  edge_span rest = trimmed(h->rest);
  size_t time = time_length(rest, true); /* Cisco: hall: 000045: *Mar  1 00:12:13.123:, MikroTik: NAME: wireless,info */
  if (plain && ((time && rest.p[time - 1] == ':') || is_counter(next) || is_topics(next))) {
    h->now.host = split.program;
    return true;
  }
  if (plain && prefix && is_severity(next)) return true;
  bool more = next.n > 1 && next.p[next.n - 1] == ':' && program_of(edge_make(next.p, next.n - 1), &second);
  if (more && same(second.program, split.program)) { add_reading(all, second, ahead); return false; } /* hostapd: hostapd: … */
  add_reading(all, split, h->rest);
  if (more && plain && (prefix || *next.p == '%')) {
    if (!h->names) second.host = split.program;
    add_reading(all, second, ahead);
  }
  if (h->now.topics.n && plain) add_reading(all, h->now, h->rest);                                   /* MikroTik: wireless,info NAME: … */
  return false;
}

/* A word of a name with spaces: Living, AP-2, (Loft) */
static bool is_capital(edge_span w) {
  for (size_t i = 0; i < w.n; i++) if (!is_letter(w.p[i]) && !is_digit(w.p[i]) && !memchr("-_.'()!&+#", w.p[i], 10)) return false;
  return is_upper(*w.p) || is_digit(*w.p) || *w.p == '(' || *w.p > 127;
}

/* Whether w may be a name: "#" and ">" stand before a line that somebody quotes. */
static bool has_name(edge_span w) {
  for (size_t i = 0; i < w.n; i++) if (is_letter(w.p[i]) || is_digit(w.p[i])) return true;
  return false;
}

/* All readings of a line. */
static void split_line(edge_span line, log_readings *all) {
  log_header h = {0};
  all->count = 0;
  while (line.n && *line.p == 0) line = edge_from(line, 1); /* zero bytes that a power cut left before the line */
  while (line.n && (line.p[line.n - 1] == '\r' || line.p[line.n - 1] == 0)) line.n--;
  h.rest = line;
  begin(&h);
  log_split ends[LOG_READINGS];
  size_t count = 0;
  for (int words = 0; words < LOG_WORDS && h.rest.n; words++) {
    edge_span start = trimmed(h.rest);
    const uint8_t *version = h.fresh ? h.now.time.p : start.p;
    edge_span from = edge_make(version, (size_t)(line.p + line.n - version));
    h.fresh = false;
    if (is_5424(from)) {
      h.rest = from;
      h.now.time = edge_make(from.p, 0);
      if (header_5424(&h)) { add_reading(all, h.now, h.rest); return; }
      start = trimmed(h.rest);
    }
    if (host_fits(&h) && count < LOG_READINGS && (!h.severity || !h.names || is_free(&h))) {
      ends[count] = h.now;
      ends[count++].message = start;
    }
    edge_span w = word(&h.rest), mac;
    if (!w.n) break;
    size_t angle = *w.p == '<' ? edge_digits(w, 1) : 0;
    if (words && ((angle > 1 && angle < 5 && angle < w.n && w.p[angle] == '>') || (host_fits(&h) && (time_length(start, true) || starts_with_epoch(start))))) {
      h.rest = start;
      begin(&h);
      if (h.rest.p == start.p) break;
    } else if (is_device(w, &mac)) {
      h.now.device = w;
      if (!h.now.host.n) h.now.host = mac;
    } else if (*w.p == '<' && w.n > 1 && is_digit(w.p[1]) && h.names == 1) { /* Aruba: <10.0.0.2 02:00:00:00:00:09> */
      while (w.n && w.p[w.n - 1] != '>') w = word(&h.rest);
    } else if (edge_is(w, "-")) h.dashes++;
    else if (edge_is(w, ":")) { if (!h.now.time.n && !h.severity && !h.now.priority.n) break; }
    else if (is_severity(w)) h.severity = true;
    else if (is_topics(w)) h.now.topics = w;
    else if (is_counter(w)) h.numbered = true;
    else if (w.p[w.n - 1] == ':' && w.n > 1) {
      if (!tag(&h, w, all)) break;
      begin(&h);
    } else if (h.severity || h.now.device.n || h.dashes > 2 || !has_name(w)) break;
    else {
      if (!h.names++) h.first = w, h.capitals = true;
      h.twice = h.names == 2 && same_host(h.first, w);
      h.capitals = h.capitals && w.n < LOG_NAME && is_capital(w);
      h.now.host = h.names == 1 || (h.twice && is_address(h.first)) ? w : h.twice ? h.first : edge_make(h.first.p, (size_t)(w.p + w.n - h.first.p));
    }
  }
  for (size_t i = count; i--;) add_reading(all, ends[i], ends[i].message);
  if (!all->count) add_reading(all, h.now, h.rest);
}
#endif
