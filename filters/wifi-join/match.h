/* match.h: which form fits a line: the user's forms first, then the table. */
#ifndef MATCH_H
#define MATCH_H
#include "forms.h"

#define USER_FORMS 16
#define USER_FORM_MAX 256
#define FORM_COUNT (sizeof FORMS / sizeof *FORMS)

typedef struct { const char *type; edge_span program, text; char name[12]; } user_form;
typedef struct { bool dhcp, logger, explain; user_form forms[USER_FORMS]; size_t count; } wifi_options;
typedef struct { const log_split *split; const char *form; const wifi_form *off; wifi_event event; } wifi_match;

/* Whether the program is one of a form's: `hostapd-*` is any that begins so, `-` none. */
static bool is_program(edge_span program, const char *list) {
  for (const char *p = list; *p; p += *p == ' ') {
    const char *from = p;
    while (*p && *p != ' ' && (size_t)(p - from) < program.n && program.p[p - from] == (uint8_t)*p) p++;
    size_t n = (size_t)(p - from);
    bool whole = !*p || *p == ' ';
    if (*p == '*' || (n && n == program.n && whole) || (!program.n && *p == '-' && (!p[1] || p[1] == ' '))) return true;
    while (*p && *p != ' ') p++;
  }
  return false;
}

/* Without a program, "logger: AP-STA-CONNECTED …" would name an interface: it must look like one. */
static bool looks_like_interface(edge_span w) {
  bool digit = false;
  for (size_t i = 0; i < w.n; i++) {
    digit = digit || is_digit(w.p[i]);
    if (!is_digit(w.p[i]) && !is_letter(w.p[i]) && !memchr("-_.@", w.p[i], 4)) return false;
  }
  return digit && !quotes(w);
}

/* What a program prints for another: netifd for hostapd, the kernel with its time. */
static void unwrap(log_split *s) {
  edge_span rest = s->message, first = word(&rest), second = word(&rest);
  if (edge_is(s->program, "netifd") && second.n > 3 && *second.p == '(' && edge_digits(second, 1) == second.n - 2 && second.p[second.n - 1] == ':') {
    s->program = span_of("hostapd");
    s->message = trimmed(rest);
  } else if (edge_is(s->program, "kernel") && first.n && *first.p == '[') {
    const uint8_t *close = memchr(s->message.p, ']', s->message.n < 24 ? s->message.n : 24);
    if (close) s->message = trimmed(edge_from(s->message, (size_t)(close - s->message.p) + 1));
  }
}

static bool contains(edge_span s, const char *text) {
  for (size_t n = strlen(text); s.n >= n; s = edge_from(s, 1)) if (edge_starts(s, text)) return true;
  return false;
}

static bool form_fits(const wifi_form *form, const log_split *s, wifi_event *event) {
  if (!is_program(s->program, form->programs)) return false;
  if (form->text && *form->text != '{' && (!s->message.n || *s->message.p != (uint8_t)*form->text)) return false; /* most forms end here */
  /* in MikroTik's lines without topics "NAME (ADDRESS): …" is of its hotspot, whose guests choose the name */
  if (!s->topics.n && !strcmp(form->name, "mikrotik") && contains(s->message, "): ")) return false;
  /* FRITZ!Box's own time, 10.01.26 20:00:01, has no host after it: a word there begins another message */
  if (s->host.n && s->time.n > 2 && s->time.p[2] == '.' && !strcmp(form->name, "fritzbox")) return false;
  /* topics are MikroTik's, and those of its hotspot have names that guests choose */
  if (s->topics.n && (!form->topics || !is_one_of(edge_make(s->topics.p, strcspn((const char *)s->topics.p, ",")), form->topics))) return false;
  form_match m = {0};
  if (form->read ? !form->read(s->message, &m.event) : !fits(span_of(form->text), s->message, &m)) return false;
  /* "somebody wlan0: …": a word alone before a message is no header */
  if (!s->program.n && s->host.n && !s->time.n && !s->priority.n && !s->topics.n) return false;
  if (!s->program.n && !strncmp(form->name, "hostapd", 7) && !looks_like_interface(m.event.interface)) return false;
  if (form->type) m.event.type = form->type;
  if (form->reason) m.event.reason = span_of(form->reason);
  m.event.controller = form->controller;
  *event = m.event;
  return true;
}

/* False if no form fits; m->split is then the likeliest reading, and m->off a form that an argument would turn on. */
static bool match_line(const log_readings *all, const wifi_options *options, wifi_match *m) {
  m->off = NULL;
  for (size_t u = 0; u < options->count; u++)
    for (size_t i = 0; i < all->count; i++) {
      const user_form *form = &options->forms[u];
      form_match found = {0};
      m->split = &all->at[i];
      if (form->program.n && !same(form->program, m->split->program)) continue;
      if (!fits(form->text, m->split->message, &found)) continue;
      m->event = found.event;
      m->event.type = form->type;
      m->form = form->name;
      return true;
    }
  for (size_t i = 0; i < all->count; i++) {
    log_split inner = all->at[i];
    unwrap(&inner);
    m->split = &all->at[i];
    for (const wifi_form *form = FORMS; form < FORMS + FORM_COUNT; form++) {
      bool on = form->when == ALWAYS || (form->when == WITH_DHCP ? options->dhcp : options->logger);
      if ((!on && (!options->explain || m->off)) || !form_fits(form, &inner, &m->event)) continue;
      m->form = form->name;
      if (on) return true;
      m->off = form;
    }
  }
  m->split = all->at;
  return false;
}

/* ---- the user's forms ---- */

/* The longest text without spaces of a form: the search looks for it. */
static edge_span fixed_text(edge_span form) {
  edge_span best = edge_make(form.p, 0);
  for (size_t i = 0; i < form.n;) {
    size_t from = i;
    while (i < form.n && form.p[i] != '{' && form.p[i] != ' ') i++;
    if (i - from > best.n) best = edge_make(form.p + from, i - from);
    if (i < form.n && form.p[i] == '{') while (i < form.n && form.p[i] != '}') i++;
    i++;
  }
  return best;
}

/* Why a form cannot be used, or NULL. */
static const char *form_problem(edge_span program, edge_span form, bool needs_mac) {
  bool mac = false;
  for (size_t i = 0; i < form.n; i++) {
    if (form.p[i] < ' ') return "has a control character";
    if (form.p[i] == '}') return "has a } without a {";
    if (form.p[i] != '{') continue;
    const uint8_t *close = memchr(form.p + i, '}', form.n - i);
    if (!close) return "has a { without a }";
    edge_span name = edge_make(form.p + i + 1, (size_t)(close - form.p) - i - 1);
    if (memchr(name.p, '{', name.n)) return "has a { within a {";
    if (!memchr(name.p, '|', name.n) && !is_one_of(name, "mac interface ap skip rest most name end"))
      return "has an unknown placeholder; known: {mac} {interface} {ap} {skip} {rest} {most} {name} {end} {one|other}";
    mac = mac || edge_is(name, "mac");
    i += name.n + 1;
  }
  if (needs_mac && !mac) return "has no {mac}";
  return fixed_text(form).n < 3 && program.n < 3 ? "needs a fixed text of at least 3 characters without a space" : NULL;
}

/* Add a form: [joined:|left:|roamed:|active:|restarted:] [PROGRAM:] TEXT. NULL, or why it cannot be used. */
static const char *add_form(wifi_options *options, const char *text) {
  static const char *const types[] = {"joined", "left", "roamed", "active", "restarted"};
  if (options->count == USER_FORMS) return "is one too many: at most 16";
  user_form *form = &options->forms[options->count];
  edge_span s = trimmed(span_of(text));
  if (s.n > USER_FORM_MAX) return "is longer than 256 bytes";
  form->type = types[0];
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    size_t n = strlen(types[i]);
    if (!edge_starts(s, types[i]) || s.n == n || s.p[n] != ':') continue;
    form->type = types[i];
    s = trimmed(edge_from(s, n + 1));
    break;
  }
  edge_span rest = s, first = word(&rest);
  form->program = edge_make(s.p, 0);
  if (first.n > 1 && first.p[first.n - 1] == ':' && !memchr(first.p, '{', first.n)) {
    form->program = edge_make(first.p, first.n - 1);
    s = trimmed(rest);
  }
  form->text = s;
  memcpy(form->name, "--form 00", 10);
  options->count++;
  form->name[7] = (char)('0' + options->count / 10);
  form->name[8] = (char)('0' + options->count % 10);
  return form_problem(form->program, s, strcmp(form->type, "restarted"));
}
#endif
