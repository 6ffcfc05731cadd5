/* log-line.h: split a log line of any vendor into its optional parts.
 *
 *   [<PRI>] [number:] [time] [host] [device tag:] [facility.severity | topics] [:] [program[pid]:] message
 *
 * Every part may be missing, and a relay may have put a second header before the first one. So a line has a few possible
 * readings, best first: without a program the message may start after the time or after the host. A form decides which
 * reading is right, because its text must start where the message starts. Nothing within a message is ever searched for.
 */
#ifndef LOG_LINE_H
#define LOG_LINE_H
#include "../edge.h"

#define LOG_READINGS 12 /* most readings of one line */
#define LOG_WORDS 24    /* most words of a header */
#define LOG_NAME 64     /* longest name of a host, an access point or an interface, in bytes */

typedef struct { edge_span priority, time, host, device, program, pid, message; edge_span topics; } log_split;
typedef struct { log_split at[LOG_READINGS]; size_t count; } log_readings;

static inline bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }
static inline bool is_upper(uint8_t c) { return c >= 'A' && c <= 'Z'; }
static inline bool is_lower(uint8_t c) { return c >= 'a' && c <= 'z'; }
static inline bool is_letter(uint8_t c) { return is_upper(c) || is_lower(c) || c > 127; }
static inline bool is_space(uint8_t c) { return c == ' ' || c == '\t'; }

static edge_span trimmed(edge_span s) {
  while (s.n && is_space(*s.p)) s = edge_from(s, 1);
  return s;
}

/* Cut the next word off s; spaces and tabs separate. */
static edge_span word(edge_span *s) {
  *s = trimmed(*s);
  size_t n = 0;
  while (n < s->n && !is_space(s->p[n])) n++;
  edge_span w = edge_make(s->p, n);
  *s = edge_from(*s, n);
  return w;
}

/* Whether w is one of the words of a list that spaces separate; ASCII letters of w may be of any case. */
static bool is_one_of(edge_span w, const char *list) {
  for (const char *p = list; *p;) {
    size_t i = 0;
    while (i < w.n && *p && *p != ' ' && (is_upper(w.p[i]) ? w.p[i] | 32 : w.p[i]) == (uint8_t)*p) i++, p++;
    if (i == w.n && (*p == ' ' || !*p)) return true;
    while (*p && *p != ' ') p++;
    p += *p == ' ';
  }
  return false;
}

static bool same(edge_span a, edge_span b) { return a.n == b.n && !memcmp(a.p, b.p, a.n); }

static bool has_only(edge_span w, const char *others) {
  for (size_t i = 0; i < w.n; i++) if (!is_digit(w.p[i]) && !strchr(others, w.p[i])) return false;
  return w.n && !memchr(w.p, 0, w.n);
}

/* ---- times ---- */

static bool is_address(edge_span w) { /* IPv4, or IPv6 with letters or two colons together */
  size_t dots = 0, colons = 0, pair = 0;
  for (size_t i = 0; i < w.n; i++) {
    if (w.p[i] == '.') dots++;
    else if (w.p[i] == ':') colons++, pair += i && w.p[i - 1] == ':';
    else if (edge_hex(w.p[i]) > 15) return false;
  }
  return (dots == 3 && !colons && has_only(w, ".")) || (colons > 1 && pair);
}

/* 9:10, 09:10:11.123+01:00, 20.00.01, 2026-03-04T09:10:11Z */
static bool has_clock(edge_span w) {
  for (size_t i = 0; i + 2 < w.n; i++)
    if (is_digit(w.p[i]) && (w.p[i + 1] == ':' || w.p[i + 1] == 'h') && is_digit(w.p[i + 2])) return true;
  return false;
}

/* Numbers with the signs of dates, clocks and zones: 4, 4., 2026,, 10/01/2026, 09:10:11, [1772608269.123], +0100 */
static bool is_number(edge_span w) {
  if (w.n && (*w.p == '*' || *w.p == '.')) w = edge_from(w, 1); /* Cisco: the clock is not set */
  size_t colons = 0;
  bool digit = false;
  for (size_t i = 0; i < w.n; i++) {
    if (is_digit(w.p[i])) digit = true;
    else if (!memchr(":.,/+-_TZh[]()", w.p[i], 14)) return false;
    colons += w.p[i] == ':';
  }
  return digit && colons < 5 && !is_address(w); /* a MAC has five colons */
}

static edge_span without_end(edge_span w) { /* without the points, commas and brackets around a word */
  while (w.n && strchr(".,:)]", w.p[w.n - 1])) w.n--;
  while (w.n && strchr("([*", *w.p)) w = edge_from(w, 1);
  return w;
}

/* Months and days of the week as logs and browsers write them in English, German, French, Spanish, Italian, Dutch, Portuguese. */
static bool is_date_word(edge_span w) {
  return is_one_of(without_end(w),
                   "jan feb mar apr may jun jul aug sep oct nov dec mon tue wed thu fri sat sun sept january february march april june "
                   "july august september october november december monday tuesday wednesday thursday friday saturday sunday "
                   "m\xc3\xa4r m\xc3\xa4rz mrz mai okt dez mo di mi do fr sa so januar februar juni juli oktober dezember montag dienstag "
                   "mittwoch donnerstag freitag samstag sonntag j\xc3\xa4n "
                   "janv f\xc3\xa9vr mars avr juin juil ao\xc3\xbbt d\xc3\xa9" "c lun mer jeu ven sam dim janvier f\xc3\xa9vrier avril juillet "
                   "septembre octobre novembre d\xc3\xa9" "cembre "
                   "ene abr ago dic mi\xc3\xa9 jue vie s\xc3\xa1" "b dom enero febrero marzo abril mayo junio julio agosto septiembre "
                   "octubre noviembre diciembre gen mag giu lug set ott gio gennaio febbraio aprile maggio giugno luglio settembre ottobre "
                   "mrt mei zo ma wo vr za maart augustus fev out seg ter qua qui sex fevereiro mar\xc3\xa7o maio junho julho setembro "
                   "outubro novembro dezembro");
}

static bool is_zone(edge_span w) {
  w = without_end(w);
  if (w.n > 3 && (edge_starts(w, "UTC") || edge_starts(w, "GMT")) && has_only(edge_from(w, 4), ":")) return strchr("+-", w.p[3]) != NULL;
  return w.n > 1 && is_upper(*w.p) &&
         is_one_of(w, "utc gmt cet cest mez mesz wet west eet eest msk bst ist pst pdt est edt cst cdt mst mdt akst akdt hst jst kst aest "
                      "aedt acst acdt awst nzst nzdt sast brt brst art clt hkt sgt pkt wib met mest");
}

/* The length of a time at the start of s, 0 if there is none. `clock`: it must have hours and minutes or be an ISO time. */
static size_t time_length(edge_span s, bool clock) {
  edge_span rest = s, previous = {0, 0};
  size_t end = 0, numbers = 0, strange = 0;
  bool seen = false;
  for (int words = 0; words < 10; words++) {
    edge_span ahead = rest, w = word(&ahead), after = ahead, next = word(&after);
    if (!w.n || (!numbers && !is_number(w) && !is_number(next) && !is_number(word(&after)))) break;
    bool half = seen && is_one_of(w, "am pm a.m. p.m. a. p. m. vorm. nachm. uhr uur h"), kept = true;
    if (is_number(w)) {
      if (seen && !(w.n == 4 && has_only(w, "")) && !strchr("[+-", *w.p) && !(w.n > 7 && has_only(w, "./-")))
        break; /* after the clock: a year, an offset, an epoch in brackets or a date, but no second clock */
      seen = seen || has_clock(w);
      numbers++;
    } else if (half || (seen && is_zone(w))) kept = true;
    else if (seen) break;
    else if (is_date_word(w) || is_one_of(w, "\xc3\xa0 at um de del alle ore op om \xc3\xa0s kl. le den")) kept = is_number(next) || is_date_word(next) || numbers;
    else if (is_letter(*w.p) && w.n < 16 && w.p[w.n - 1] != ':' && is_number(next) && strange++ < 2)
      /* a month of another language: between two numbers, or before a day and a clock */
      kept = numbers ? is_number(previous) : next.n < 4 && (edge_digits(next, 0) + 1 >= next.n) && time_length(trimmed(ahead), true);
    else break;
    if (!kept) break;
    rest = ahead;
    previous = w;
    end = (size_t)(w.p + w.n - s.p);
    if (w.p[w.n - 1] == ':' && seen) break; /* Cisco ends its time with a colon */
  }
  return numbers && (seen || !clock) ? end : 0;
}

/* ---- other words of a header ---- */

/* daemon.notice, with or without a colon after it: the place where logread and LuCI print facility and severity. */
static bool is_severity(edge_span w) {
  if (w.n && w.p[w.n - 1] == ':') w.n--;
  if (w.n > 2 && *w.p == '[' && w.p[w.n - 1] == ']') return is_one_of(edge_make(w.p + 1, w.n - 2), "info notice debug warning err crit");
  const uint8_t *dot = memchr(w.p, '.', w.n);
  if (!dot) return false;
  edge_span facility = edge_make(w.p, (size_t)(dot - w.p)), severity = edge_from(w, facility.n + 1);
  return is_one_of(facility, "daemon user kern auth authpriv syslog cron mail news uucp lpr ftp local0 local1 local2 local3 local4 local5 "
                             "local6 local7") &&
         is_one_of(severity, "info notice debug warn warning err error crit alert emerg panic");
}

/* MikroTik's topics: wireless,info or caps,debug */
static bool is_topics(edge_span w) {
  if (w.n && w.p[w.n - 1] == ':') w.n--;
  if (!w.n || !is_lower(*w.p) || !memchr(w.p, ',', w.n) || w.p[w.n - 1] == ',') return false;
  for (size_t i = 0; i < w.n; i++) if (!is_lower(w.p[i]) && !is_digit(w.p[i]) && w.p[i] != ',' && w.p[i] != '-') return false;
  return true;
}

/* Cisco: 000045: or the time since the start, 1w2d: */
static bool is_counter(edge_span w) {
  if (w.n < 2 || !is_digit(*w.p) || w.p[w.n - 1] != ':') return false;
  for (size_t i = 0; i + 1 < w.n; i++) if (!is_digit(w.p[i]) && !strchr("ywdhms", w.p[i])) return false;
  return true;
}

/* Meraki: 1701108917.492881624, perhaps with 1 before it */
static bool starts_with_epoch(edge_span s) {
  edge_span w = word(&s);
  if (edge_is(w, "1")) w = word(&s);
  return w.n > 11 && edge_digits(w, 0) == 10 && w.p[10] == '.' && has_only(edge_from(w, 11), "");
}

/* A MAC at the start of s: pairs or fours with ':', '-' or '.', or no separator, the same throughout; its length or 0. */
static size_t mac_length(edge_span s, uint8_t out[17]) {
  static const char hex[] = "0123456789abcdef";
  size_t first = 0;
  while (first < s.n && first < 13 && edge_hex(s.p[first]) < 16) first++;
  size_t group = first == 2 || first == 4 ? first : 12, n = group == 2 ? 17 : group == 4 ? 14 : 12, digits = 0;
  if (s.n < n || (group == 12 && first != 12)) return 0;
  uint8_t separator = group == 12 ? 0 : s.p[group];
  if (separator && !memchr(":-.", separator, 3)) return 0;
  for (size_t i = 0; i < n; i++) {
    if (i % (group + 1) == group) {
      if (s.p[i] != separator) return 0;
      continue;
    }
    unsigned v = edge_hex(s.p[i]);
    if (v > 15) return 0;
    if (digits && digits % 2 == 0) out[digits / 2 * 3 - 1] = ':';
    out[digits / 2 * 3 + digits % 2] = (uint8_t)hex[v];
    digits++;
  }
  if (n == s.n) return n;
  bool longer = edge_hex(s.p[n]) < 16 || (group == 4 && separator == ':' && s.p[n] == ':'); /* an IPv6 address */
  return longer ? 0 : n;
}

/* UniFi's tag: a MAC, the model and the firmware in any order, with ',', ';', '|' or '||' between, perhaps quoted. */
static bool is_device(edge_span w, edge_span *mac) {
  uint8_t out[17];
  size_t fields = 0;
  bool found = false;
  for (size_t from = 0, to; from < w.n; from = to + 1) {
    for (to = from; to < w.n && !memchr(",;|", w.p[to], 3);) to++;
    edge_span field = edge_make(w.p + from, to - from);
    while (field.n && memchr("\"'():", field.p[field.n - 1], 5)) field.n--;
    while (field.n && memchr("\"'(", *field.p, 3)) field = edge_from(field, 1);
    fields += field.n != 0;
    if (!found && field.n > 11 && mac_length(field, out) == field.n) *mac = field, found = true;
  }
  return found && fields > 1;
}

/* hostapd[123] and /usr/sbin/hostapd mean hostapd. False for a tag with anything else in brackets. */
static bool program_of(edge_span tag, log_split *out) {
  if (tag.n > 2 * LOG_NAME) return false;
  for (size_t i = tag.n; i--;) if (tag.p[i] == '/') { tag = edge_from(tag, i + 1); break; }
  const uint8_t *bracket = memchr(tag.p, '[', tag.n);
  out->pid = edge_make(tag.p, 0);
  out->program = tag;
  if (!bracket) return tag.n;
  size_t n = (size_t)(bracket - tag.p), end = edge_digits(tag, n + 1);
  if (end == n + 1 || end + 1 != tag.n || tag.p[end] != ']') return false;
  out->program = edge_make(tag.p, n);
  out->pid = edge_make(bracket + 1, end - n - 1);
  return n;
}

/* Programs that print what others say; their tag is never the prefix (log_prefix) of another program's line. */
static bool quotes(edge_span program) {
  return is_one_of(program, "logger root sshd dropbear dnsmasq dnsmasq-dhcp kernel syslog syslogd klogd cron crond netifd procd ubusd su sudo "
                            "login getty uhttpd nginx httpd lighttpd firewall odhcpd hostapd_cli wpa_cli wpa_supplicant logread presence-detector "
                            "python python3 perl bash sh systemd rsyslogd syslog-ng collectd mosquitto openvpn ntpd chronyd avahi-daemon "
                            "smbd nmbd telegraf fail2ban postfix named unbound bird radvd pppd radiusd freeradius user admin message homeassistant "
                            "home-assistant hass node-red monitor watchdog watcher notify notifier script edge-agent edge-sink rsyslog journal "
                            "audit auditd dbus mqtt telegram alert zabbix nagios snort suricata tail grep awk cat echo mail ssh bot");
}
#endif
