/* wifi-join: a source filter that turns access points' log lines into events about the devices on the Wi-Fi.
 *
 *   wifi-join [--form FORM]... [--dhcp] [--logger] [--explain]
 *
 * Types: wifi.client.joined, .left, .roamed, .rejected, .active, and wifi.access_point.restarted. data: mac (lower case,
 * colons), interface, auth, reason, as far as the line has them; access_point: what the line calls the access point.
 * The parts of a line are in wifi-join/log-line.h and split.h, the forms of the vendors in wifi-join/forms.h. The program's
 * name decides: a line of another program that quotes an access point is ignored.
 * --form adds a form, --dhcp and --logger switch on those of dnsmasq and hostapd -B. --explain is for tools: a JSON object
 * for every line, with its parts, the form that fits and the event, or the reason why there is none.
 */
#include "edge.h"
#include "wifi-join/match.h"

/* Lines have numbers in so many bytes from the start: beyond them counting would cost as much as searching, and `at` is enough. */
#define NUMBERED (64 * 1024)
#define NEEDLE_COUNT(list) (sizeof(list) / sizeof *(list))
#define ALL_NEEDLES (NEEDLE_COUNT(NEEDLES) + NEEDLE_COUNT(DHCP_NEEDLES) + NEEDLE_COUNT(LOGGER_NEEDLES) + USER_FORMS)

static wifi_options options;
static edge_finder finder;

static void put_member(const char *name, edge_span value, const char **comma) {
  edge_puts(*comma);
  *comma = ",";
  edge_put("\"", 1);
  edge_puts(name);
  edge_puts("\":");
  edge_put_string(value);
}

/* At most LOG_NAME bytes of a name, whole characters only, as they come out as JSON. */
static edge_span shortened(edge_span name) {
  size_t n = 0, bytes = 0;
  while (n < name.n) {
    size_t k = edge_utf8(name.p + n, name.n - n), out = k ? k : 2;
    if (bytes + out > LOG_NAME) break;
    bytes += out;
    n += k ? k : 1;
  }
  return edge_make(name.p, n);
}

static void put_event(uint64_t line, uint64_t at, const wifi_match *m) {
  const wifi_event *e = &m->event;
  edge_span access_point = shortened(e->access_point.n || e->controller ? e->access_point : m->split->host);
  const char *comma = "";
  edge_puts("{");
  if (line) {
    edge_puts("\"line\":");
    edge_put_number(line);
    edge_puts(",");
  }
  edge_puts("\"at\":");
  edge_put_number(at);
  edge_puts(strcmp(e->type, "restarted") ? ",\"type\":\"wifi.client." : ",\"type\":\"wifi.access_point.");
  edge_puts(e->type);
  edge_puts("\",\"data\":{");
  if (e->has_mac) put_member("mac", edge_make(e->mac, sizeof e->mac), &comma);
  if (e->interface.n) put_member("interface", e->interface, &comma);
  if (e->auth.n) put_member("auth", e->auth, &comma);
  if (e->reason.n) put_member("reason", e->reason, &comma);
  edge_put("}", 1);
  comma = ",";
  if (access_point.n) put_member("access_point", access_point, &comma);
  edge_put("}", 1);
}

/* Why no form fits, for people. */
static const char *reason_of(const log_readings *all, const wifi_match *m) {
  if (m->off) return m->off->when == WITH_DHCP ? "a line of dnsmasq counts with --dhcp only" : "hostapd's own log lines count with --logger only";
  edge_span program = all->at[0].program;
  if (!all->at[0].message.n && !program.n) return "the line has no message";
  if (!program.n) return "the line names no program, and no form without a program fits";
  for (size_t i = 0; i < FORM_COUNT; i++) if (is_program(program, FORMS[i].programs)) return "no form of this program fits the message";
  return "no form is for this program";
}

static void explain(uint64_t line, uint64_t at, const log_readings *all, const wifi_match *m, bool found) {
  const log_split *s = m->split;
  const edge_span parts[] = {s->priority, s->time, s->host, s->device, s->program, s->pid, s->message};
  static const char *const names[] = {"priority", "time", "host", "device", "program", "pid", "message"};
  const char *comma = "";
  edge_puts("{\"line\":");
  edge_put_number(line);
  edge_puts(",\"at\":");
  edge_put_number(at);
  edge_puts(",\"split\":{");
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) if (parts[i].n) put_member(names[i], parts[i], &comma);
  edge_put("}", 1);
  comma = ",";
  put_member("form", span_of(found ? m->form : ""), &comma);
  if (!found) put_member("reason", span_of(reason_of(all, m)), &comma);
  edge_puts(",\"event\":");
  if (found) put_event(line, at, m);
  else edge_puts("null");
  edge_puts("}\n");
}

static void one_line(uint64_t number, uint64_t at, edge_span line) {
  static log_readings all;
  wifi_match m = {0};
  if (line.n > EDGE_LINE_MAX) return;
  split_line(line, &all);
  bool found = match_line(&all, &options, &m);
  if (options.explain) explain(number, at, &all, &m, found);
  else if (found) {
    put_event(number, at, &m);
    edge_put("\n", 1);
  }
}

static void every_line(edge_reader *reader, edge_span piece) {
  const uint8_t *end = piece.p + piece.n;
  for (const uint8_t *from = piece.p; from < end;) {
    const uint8_t *to = memchr(from, '\n', (size_t)(end - from));
    one_line(reader->lines + 1, edge_at(reader, from), edge_make(from, (size_t)((to ? to : end) - from)));
    reader->lines += to != NULL;
    from = to ? to + 1 : end;
  }
}

static void lines_with_words(edge_reader *reader, edge_span piece) {
  bool numbered = reader->passed + piece.n <= NUMBERED;
  const uint8_t *p = piece.p, *end = piece.p + piece.n, *hit;
  while ((hit = edge_find(&finder, p, end))) {
    const uint8_t *from = hit, *to = memchr(hit, '\n', (size_t)(end - hit));
    while (from > p && from[-1] != '\n') from--;
    if (!to) to = end;
    if (numbered) reader->lines += edge_newlines(p, from);
    one_line(numbered ? reader->lines + 1 : 0, edge_at(reader, from), edge_make(from, (size_t)(to - from)));
    p = to; /* its newline is counted with the next hit */
  }
  if (numbered) reader->lines += edge_newlines(p, end);
}

static void fail(const char *argument, const char *text, const char *problem) {
  const char *const parts[] = {"wifi-join: ", argument, text ? " " : "", text ? text : "", " ", problem, "\n"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) if (write(2, parts[i], strlen(parts[i])) < 0) break;
  _Exit(2);
}

static void read_arguments(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    const char *problem = NULL;
    if (!strcmp(argv[i], "--dhcp")) options.dhcp = true;
    else if (!strcmp(argv[i], "--logger")) options.logger = true;
    else if (!strcmp(argv[i], "--explain")) options.explain = true;
    else if (strcmp(argv[i], "--form")) fail(argv[i], NULL, "is unknown; known: --form FORM, --dhcp, --logger, --explain");
    else if (++i == argc) fail("--form", NULL, "needs a form");
    else problem = add_form(&options, argv[i]);
    if (problem) fail("--form", argv[i], problem);
  }
}

static size_t add_words(const char **all, size_t count, const char *const *words, size_t more) {
  memcpy(all + count, words, more * sizeof *words);
  return count + more;
}

static void prepare_search(void) {
  static const char *words[ALL_NEEDLES];
  static char texts[USER_FORMS][USER_FORM_MAX + 1];
  size_t count = add_words(words, 0, NEEDLES, NEEDLE_COUNT(NEEDLES));
  if (options.dhcp) count = add_words(words, count, DHCP_NEEDLES, NEEDLE_COUNT(DHCP_NEEDLES));
  if (options.logger) count = add_words(words, count, LOGGER_NEEDLES, NEEDLE_COUNT(LOGGER_NEEDLES));
  for (size_t i = 0; i < options.count; i++) {
    edge_span text = fixed_text(options.forms[i].text), program = options.forms[i].program;
    if (program.n > text.n) text = program;
    memcpy(texts[i], text.p, text.n);
    words[count++] = texts[i];
  }
  edge_finder_init(&finder, words, count);
}

int main(int argc, char **argv) {
  edge_reader reader = {0};
  edge_span piece;
  read_arguments(argc, argv);
  prepare_search();
  while (edge_lines(&reader, &piece))
    if (options.explain) every_line(&reader, piece);
    else lines_with_words(&reader, piece);
  edge_flush();
  return 0;
}
