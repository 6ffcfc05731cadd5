/* form.h: a form of a log message, and how it is matched.
 *
 * A form is a text with placeholders. It must fit from the message's start; more text may follow its end. A space in it
 * stands for one or more spaces. docs/access-points.md describes it for users.
 *   {mac} {interface} {ap} {skip} {rest}   as documented there
 *   {most}    like {rest}, but up to the last place where the remainder fits
 *   {name}    a text without square brackets
 *   {auth}    one word, which becomes data.auth
 *   {a|b|}    one of these texts
 *   {end}     the end of the message
 */
#ifndef FORM_H
#define FORM_H
#include "split.h"

#define FORM_STEPS 20000 /* most steps of one match: a line that somebody made to be slow is not recognised */
#define FORM_REST 2048   /* longest text of a placeholder between two others */

typedef struct {
  const char *type; /* joined, left, …; NULL where the event says it */
  edge_span interface, access_point, auth, reason;
  uint8_t mac[17];
  bool has_mac;
  bool controller; /* see wifi_form */
} wifi_event;

typedef struct { const uint8_t *end; size_t steps; wifi_event event; } form_match;

static bool is_interface(edge_span w) {
  if (!w.n || w.n > LOG_NAME) return false;
  for (size_t i = 0; i < w.n; i++) if (w.p[i] <= ' ' || w.p[i] == 127 || w.p[i] == '"' || w.p[i] == '\\') return false;
  return true;
}

static edge_span span_of(const char *text) { return edge_make((const uint8_t *)text, strlen(text)); }

/* Whether a form's text of n bytes is at the start of s; *s moves past it. */
static bool take(edge_span *s, const char *text, size_t n) {
  edge_span rest = *s;
  for (size_t i = 0; i < n; i++) {
    if (!rest.n || (text[i] == ' ' ? !is_space(*rest.p) : *rest.p != (uint8_t)text[i])) return false;
    rest = text[i] == ' ' ? trimmed(rest) : edge_from(rest, 1);
  }
  *s = rest;
  return true;
}

static bool fits_after(bool literal, edge_span form, edge_span text, form_match *m);
static bool fits(edge_span form, edge_span text, form_match *m) { return fits_after(false, form, text, m); }

static bool fits_one_of(edge_span texts, edge_span form, edge_span text, form_match *m) {
  for (size_t from = 0; from <= texts.n;) {
    const uint8_t *bar = memchr(texts.p + from, '|', texts.n - from);
    size_t to = bar ? (size_t)(bar - texts.p) : texts.n;
    edge_span rest = text;
    if (take(&rest, (const char *)texts.p + from, to - from) && fits_after(to > from, form, rest, m)) return true;
    from = to + 1;
  }
  return false;
}

/* How long a placeholder's text may be at most here. */
static size_t longest(edge_span name, edge_span text) {
  size_t n = 0, most = edge_is(name, "ap") ? LOG_NAME : edge_is(name, "interface") ? LOG_NAME : FORM_REST;
  bool one = edge_is(name, "interface") || edge_is(name, "skip") || edge_is(name, "auth"), bare = edge_is(name, "name");
  while (n < text.n && n < most && !(one && is_space(text.p[n])) && !(bare && (text.p[n] == '[' || text.p[n] == ']'))) n++;
  return n;
}

/* Whether a word goes on after n bytes of s: "wl0" ends before ", rssi", and "radio1.0" at its end. */
static bool in_word(edge_span s, size_t n) {
  if (n < s.n && (s.p[n] == '.' || s.p[n] == '/')) n++;
  else if (n < s.n && (s.p[n] == '_' || s.p[n] == '-')) return true;
  return n < s.n && (is_letter(s.p[n]) || is_digit(s.p[n]));
}

/* Try each length of a placeholder's text, the shortest first; for {most} the longest first. A named text before a {rest}, which
 * fits everywhere, ends where its word ends. */
static bool fits_span(edge_span name, edge_span form, edge_span text, form_match *m) {
  bool any = edge_is(name, "rest") || edge_is(name, "most"), last = edge_is(name, "most");
  if (any && !form.n) { m->end = text.p + text.n; return true; }
  size_t most = longest(name, text), least = any || edge_is(name, "name") ? 0 : 1;
  uint8_t next = form.n && *form.p != '{' && *form.p != ' ' ? *form.p : 0;
  bool open = edge_starts(form, "{rest}") || edge_starts(form, "{most}");
  bool word = open && (edge_is(name, "interface") || edge_is(name, "ap") || edge_is(name, "auth"));
  for (size_t i = least; i <= most; i++) {
    size_t n = last ? most + least - i : i;
    if (word && in_word(text, n)) continue;
    edge_span rest = edge_from(text, n);
    if (next && (!rest.n || *rest.p != next)) continue;
    if (!fits(form, rest, m)) continue;
    edge_span value = edge_make(text.p, n);
    if (edge_is(name, "interface")) {
      if (!is_interface(value)) continue;
      m->event.interface = value;
    } else if (edge_is(name, "ap")) m->event.access_point = value;
    else if (edge_is(name, "auth")) m->event.auth = value;
    return true;
  }
  return false;
}

/* Whether the form fits at the start of the text; the event gets what its placeholders stand for. `literal`: a text is before it. */
static bool fits_after(bool literal, edge_span form, edge_span text, form_match *m) {
  while (form.n) {
    if (++m->steps > FORM_STEPS) return false;
    if (*form.p != '{') {
      if (!take(&text, (const char *)form.p, 1)) return false;
      literal = true;
      form = edge_from(form, 1);
      continue;
    }
    literal = false;
    const uint8_t *close = memchr(form.p, '}', form.n);
    if (!close) return false;
    edge_span name = edge_make(form.p + 1, (size_t)(close - form.p) - 1);
    form = edge_from(form, name.n + 2);
    if (edge_is(name, "end")) {
      if (trimmed(text).n) return false;
    } else if (edge_is(name, "mac")) {
      uint8_t mac[17];
      size_t n = mac_length(text, mac);
      if (!n) return false;
      text = edge_from(text, n);
      if (!m->event.has_mac) {
        if (!fits(form, text, m)) return false;
        memcpy(m->event.mac, mac, sizeof mac);
        return m->event.has_mac = true;
      }
    } else if (memchr(name.p, '|', name.n)) return fits_one_of(name, form, text, m);
    else return fits_span(name, form, text, m);
  }
  m->end = text.p;
  if (!text.n || is_space(*text.p)) return true;
  return literal && !is_letter(*text.p) && !is_digit(*text.p) && *text.p != '_';
}

/* ---- messages of members: KEY=VALUE and JSON ---- */

/* The value of the last KEY=VALUE in s (VALUE in no, single or double quotes); false if there is none. */
static bool member(edge_span s, const char *key, edge_span *value) {
  bool found = false;
  for (s = trimmed(s); s.n; s = trimmed(s)) {
    size_t n = 0;
    while (n < s.n && s.p[n] != '=' && !is_space(s.p[n])) n++;
    edge_span name = edge_make(s.p, n);
    s = edge_from(s, n);
    if (!s.n || *s.p != '=') continue;
    s = edge_from(s, 1);
    uint8_t quote = s.n && (*s.p == '"' || *s.p == '\'') ? *s.p : 0;
    size_t from = quote != 0, to = from;
    while (to < s.n && (quote ? s.p[to] != quote : !is_space(s.p[to]))) to += quote && s.p[to] == '\\' && to + 1 < s.n ? 2 : 1;
    if (edge_is(name, key)) *value = edge_make(s.p + from, to - from), found = true;
    s = edge_from(s, to + from);
  }
  return found;
}

static bool is_mac(edge_span w, wifi_event *e) { return e->has_mac = w.n && mac_length(w, e->mac) == w.n; }
#endif
