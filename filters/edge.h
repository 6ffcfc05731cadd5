/* edge.h: helpers for filters and steps of edge-agent, in plain C; needs only libc.
 *
 * A source filter reads log lines on stdin and writes one JSON event per line: {"line": n, "type": ..., "data": {...}}, n from 1,
 * or {"at": byte, "type": ..., "data": {...}} with the byte of stdin where the line starts.
 * A step reads one JSON event per line and answers each with {"id": ..., "events": [...]} or {"id": ..., "error": "..."}.
 * Include it once, in the file that has main(). It allocates nothing; all sizes are in bytes.
 */
#ifndef EDGE_H
#define EDGE_H
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EDGE_LINE_MAX (256 * 1024) /* longer lines are counted and otherwise ignored: the largest event */
#ifndef EDGE_READ
#define EDGE_READ (64 * 1024) /* small enough for the cache: new memory and cache misses cost more than calls */
#endif
#define EDGE_INPUT (EDGE_LINE_MAX + EDGE_READ)
#define EDGE_OUTPUT (64 * 1024)
#define EDGE_API static __attribute__((unused))
#define EDGE_DEPTH 64 /* deepest JSON nesting that is read */

enum { EDGE_EXIT_READ = 3, EDGE_EXIT_WRITE = 4 };

/* A range of bytes that this struct does not own. */
typedef struct { const uint8_t *p; size_t n; } edge_span;

static inline edge_span edge_make(const uint8_t *p, size_t n) { edge_span s = {p, n}; return s; }
static inline bool edge_is(edge_span s, const char *text) { return s.n == strlen(text) && !memcmp(s.p, text, s.n); }
static inline bool edge_starts(edge_span s, const char *text) {
  size_t n = strlen(text);
  return s.n >= n && !memcmp(s.p, text, n);
}
static inline edge_span edge_from(edge_span s, size_t n) { return n > s.n ? edge_make(s.p + s.n, 0) : edge_make(s.p + n, s.n - n); }

/* The value of a hex digit, 16 for any other byte. */
static inline unsigned edge_hex(uint8_t c) {
  unsigned letter = (c | 32u) - 'a';
  return c >= '0' && c <= '9' ? c - (unsigned)'0' : letter < 6 ? letter + 10 : 16;
}

/* ---- output: buffered, flushed by edge_flush() at the end ---- */

static uint8_t edge_out[EDGE_OUTPUT];
static size_t edge_out_n;

EDGE_API void edge_flush(void) {
  for (size_t i = 0; i < edge_out_n;) {
    ssize_t r = write(1, edge_out + i, edge_out_n - i);
    if (r <= 0) _Exit(EDGE_EXIT_WRITE);
    i += (size_t)r;
  }
  edge_out_n = 0;
}

EDGE_API void edge_put(const void *bytes, size_t n) {
  const uint8_t *p = bytes;
  while (n) {
    if (edge_out_n == EDGE_OUTPUT) edge_flush();
    size_t k = EDGE_OUTPUT - edge_out_n < n ? EDGE_OUTPUT - edge_out_n : n;
    memcpy(edge_out + edge_out_n, p, k);
    edge_out_n += k; p += k; n -= k;
  }
}

static inline void edge_puts(const char *text) { edge_put(text, strlen(text)); }

EDGE_API void edge_put_number(uint64_t v) {
  char t[20];
  size_t i = sizeof t;
  do t[--i] = (char)('0' + v % 10); while (v /= 10);
  edge_put(t + i, sizeof t - i);
}

/* Length of the valid UTF-8 sequence at p (1..4), or 0 (RFC 3629: no overlong forms, no surrogates). */
static inline size_t edge_utf8(const uint8_t *p, size_t n) {
  unsigned c = p[0];
  if (c < 0x80) return 1;
  if (c < 0xc2 || c > 0xf4) return 0;
  size_t k = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  if (n < k) return 0;
  if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f)) return 0;
  for (size_t i = 1; i < k; i++) if ((p[i] & 0xc0) != 0x80) return 0;
  return k;
}

/* Any bytes as a JSON string with its quotes; a byte that is not UTF-8 becomes \u00XX. */
EDGE_API void edge_put_string(edge_span s) {
  static const char hex[] = "0123456789abcdef";
  size_t from = 0;
  edge_put("\"", 1);
  for (size_t i = 0; i < s.n;) {
    unsigned c = s.p[i];
    size_t k = edge_utf8(s.p + i, s.n - i);
    if (k && c >= 0x20 && c != '"' && c != '\\') { i += k; continue; }
    char t[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    edge_put(s.p + from, i - from);
    edge_put(t, sizeof t);
    from = ++i;
  }
  edge_put(s.p + from, s.n - from);
  edge_put("\"", 1);
}

/* ---- input: whole lines in big pieces ---- */

static uint8_t edge_in[EDGE_INPUT];

typedef struct {
  size_t held, used;  /* bytes in edge_in; how many of them the last piece took */
  bool end, skipping; /* stdin is at its end; inside of a line longer than EDGE_LINE_MAX that filled the buffer */
  uint64_t lines;     /* newlines passed before the piece that edge_lines() returned */
  uint64_t passed;    /* bytes of stdin before edge_in */
} edge_reader;

/* The position in stdin of a byte of the piece that edge_lines() returned. */
static inline uint64_t edge_at(const edge_reader *r, const uint8_t *p) { return r->passed + (size_t)(p - edge_in); }

EDGE_API uint64_t edge_newlines(const uint8_t *p, const uint8_t *end) {
  uint64_t total = 0;
  for (; p < end; p++) total += *p == '\n';
  return total;
}

/* Read until there is a whole line, the buffer is full or stdin ends; returns the number of bytes in whole lines. */
EDGE_API size_t edge_fill(edge_reader *r) {
  size_t whole = 0;
  while (!r->end && !whole && r->held < EDGE_INPUT) {
    size_t had = r->held, want = had + EDGE_READ < EDGE_INPUT ? had + EDGE_READ : EDGE_INPUT;
    while (!r->end && r->held < want) {
      ssize_t n = read(0, edge_in + r->held, want - r->held);
      if (n < 0) _Exit(EDGE_EXIT_READ);
      r->end = n == 0;
      r->held += (size_t)n;
    }
    for (whole = r->held; whole > had && edge_in[whole - 1] != '\n';) whole--;
    if (whole == had) whole = 0; /* the bytes held before had no newline */
  }
  return r->end ? r->held : whole;
}

/* The next piece of stdin: whole lines; the last line of the input may lack its newline. False at the end. */
EDGE_API bool edge_lines(edge_reader *r, edge_span *piece) {
  for (;;) {
    r->held -= r->used;
    r->passed += r->used;
    memmove(edge_in, edge_in + r->used, r->held);
    r->used = 0;
    size_t whole = edge_fill(r);
    if (!r->held) return false;
    if (!whole) { /* one line fills the buffer: drop it up to its newline */
      r->skipping = true;
      r->used = r->held;
      continue;
    }
    size_t from = 0;
    if (r->skipping) {
      const uint8_t *newline = memchr(edge_in, '\n', whole);
      from = newline ? (size_t)(newline - edge_in) + 1 : whole;
      r->lines += newline != NULL;
      r->skipping = false;
    }
    r->used = whole;
    if (from < whole) {
      *piece = edge_make(edge_in + from, whole - from);
      return true;
    }
  }
}

/* ---- search: a set of words, skipping ahead by up to the length of the shortest (Wu and Manber's rule, with pairs of bytes) ---- */

#define EDGE_WORDS 255 /* most words of a search */

typedef struct {
  const char *const *words;
  size_t count, length;
  uint8_t shift[1 << 16];                   /* by the pair of bytes at the end of the window */
  uint8_t first[256], next[EDGE_WORDS + 1]; /* words by that pair: chains of indexes plus 1 */
  uint8_t lengths[EDGE_WORDS + 1];
} edge_finder;

static inline size_t edge_pair(const uint8_t *p) { return (size_t)p[0] | (size_t)p[1] << 8; }
static inline size_t edge_bucket(const uint8_t *p) { return (p[0] * 7u + p[1]) & 255; }

/* Words of 3..255 bytes. The search skips by the length of the shortest: only long words are fast. */
EDGE_API void edge_finder_init(edge_finder *f, const char *const *words, size_t count) {
  f->words = words;
  f->count = count < EDGE_WORDS ? count : EDGE_WORDS;
  f->length = 255;
  for (size_t w = 0; w < f->count; w++) if (strlen(words[w]) < f->length) f->length = strlen(words[w]);
  memset(f->shift, (int)f->length - 1, sizeof f->shift);
  memset(f->first, 0, sizeof f->first);
  for (size_t w = 0; w < f->count; w++) {
    const uint8_t *word = (const uint8_t *)words[w];
    for (size_t i = 0; i + 1 < f->length; i++) {
      uint8_t *s = &f->shift[edge_pair(word + i)], d = (uint8_t)(f->length - 2 - i);
      if (d < *s) *s = d;
    }
    size_t bucket = edge_bucket(word + f->length - 2);
    f->lengths[w + 1] = (uint8_t)strlen(words[w]);
    f->next[w + 1] = f->first[bucket];
    f->first[bucket] = (uint8_t)(w + 1);
  }
}

/* The word whose first bytes, as many as the shortest has, end with the pair at q, or NULL. */
EDGE_API const uint8_t *edge_word_at(const edge_finder *f, const uint8_t *q, const uint8_t *end) {
  const uint8_t *start = q - (f->length - 2);
  for (size_t w = f->first[edge_bucket(q)]; w; w = f->next[w]) {
    const uint8_t *word = (const uint8_t *)f->words[w - 1];
    size_t n = f->lengths[w];
    if (edge_pair(word) == edge_pair(start) && (size_t)(end - start) >= n && !memcmp(word, start, n)) return start;
  }
  return NULL;
}

/* Search where that pair is in [q, stop). Four probes per round: engines that can be stopped pay for each round. */
EDGE_API const uint8_t *edge_scan(const edge_finder *f, const uint8_t *q, const uint8_t *stop, const uint8_t *end) {
  const uint8_t *safe = (size_t)(stop - q) > 4 * f->length ? stop - 4 * f->length : q, *hit;
  while (q < stop) {
    while (q < safe) {
      q += f->shift[edge_pair(q)];
      q += f->shift[edge_pair(q)];
      q += f->shift[edge_pair(q)];
      const uint8_t *was = q;
      q += f->shift[edge_pair(q)];
      if (q == was) break;
    }
    if (q >= stop) return NULL;
    unsigned s = f->shift[edge_pair(q)];
    if (!s && (hit = edge_word_at(f, q, end))) return hit;
    q += s ? s : 1;
  }
  return NULL;
}

/* The first place in [p, end) with one of the words, or NULL. Both halves of a long text are searched at once: one probe waits
 * for the other only within a half, which is most of the time that a search takes. */
EDGE_API const uint8_t *edge_find(const edge_finder *f, const uint8_t *p, const uint8_t *end) {
  size_t last = f->length - 2; /* where the window's last pair begins */
  if ((size_t)(end - p) <= last + 1) return NULL;
  const uint8_t *a = p + last, *hit, *found = NULL;
  if ((size_t)(end - p) > 16 * f->length) {
    const uint8_t *b = a + (end - p) / 2, *stop = b, *safe_a = stop - 4 * f->length, *safe_b = end - 4 * f->length;
    while (a < safe_a && b < safe_b) {
      a += f->shift[edge_pair(a)]; b += f->shift[edge_pair(b)];
      a += f->shift[edge_pair(a)]; b += f->shift[edge_pair(b)];
      a += f->shift[edge_pair(a)]; b += f->shift[edge_pair(b)];
      unsigned s = f->shift[edge_pair(a)], t = f->shift[edge_pair(b)];
      if (!s && (hit = edge_word_at(f, a, end))) return hit;
      a += s ? s : 1;
      if (!t && (found = edge_word_at(f, b, end))) break;
      b += t ? t : 1;
    }
    if ((hit = edge_scan(f, a, stop, end))) return hit;
    if (found) return found;
    a = b;
  }
  return edge_scan(f, a, end - 1, end);
}

/* ---- reading JSON: spans of raw text, checked as they are passed over ---- */

static inline void edge_json_space(edge_span *s) {
  while (s->n && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n')) s->p++, s->n--;
}

static inline bool edge_json_take(edge_span *s, char c) {
  edge_json_space(s);
  if (!s->n || *s->p != (uint8_t)c) return false;
  s->p++; s->n--;
  return true;
}

EDGE_API bool edge_json_skip_string(edge_span *s) {
  size_t i = 1;
  while (i < s->n && s->p[i] != '"') {
    if (s->p[i] < 0x20) return false;
    if (s->p[i] == '\\') {
      if (++i >= s->n || !memchr("\"\\/bfnrtu", s->p[i], 9)) return false;
      if (s->p[i] == 'u')
        for (int k = 0; k < 4; k++) {
          if (++i >= s->n) return false;
          if (edge_hex(s->p[i]) > 15) return false;
        }
    }
    i++;
  }
  if (i >= s->n) return false;
  *s = edge_from(*s, i + 1);
  return true;
}

EDGE_API size_t edge_digits(edge_span s, size_t i) {
  while (i < s.n && s.p[i] >= '0' && s.p[i] <= '9') i++;
  return i;
}

EDGE_API bool edge_json_skip_number(edge_span *s) {
  size_t i = s->n && *s->p == '-', j = edge_digits(*s, i);
  if (j == i || (s->p[i] == '0' && j > i + 1)) return false;
  if (j < s->n && s->p[j] == '.') {
    i = j + 1;
    if ((j = edge_digits(*s, i)) == i) return false;
  }
  if (j < s->n && (s->p[j] | 32) == 'e') {
    i = j + 1;
    if (i < s->n && (s->p[i] == '+' || s->p[i] == '-')) i++;
    if ((j = edge_digits(*s, i)) == i) return false;
  }
  *s = edge_from(*s, j);
  return true;
}

static bool edge_json_skip(edge_span *s, int depth);

EDGE_API bool edge_json_skip_many(edge_span *s, int depth, bool object) {
  char close = object ? '}' : ']';
  if (depth >= EDGE_DEPTH) return false;
  *s = edge_from(*s, 1);
  if (edge_json_take(s, close)) return true;
  do {
    edge_json_space(s);
    if (object && (!s->n || *s->p != '"' || !edge_json_skip_string(s) || !edge_json_take(s, ':'))) return false;
    if (!edge_json_skip(s, depth + 1)) return false;
  } while (edge_json_take(s, ','));
  return edge_json_take(s, close);
}

/* Pass over one value at the start of s; false if it is not valid JSON or cut off. */
EDGE_API bool edge_json_skip(edge_span *s, int depth) {
  edge_json_space(s);
  if (!s->n) return false;
  switch (*s->p) {
    case '"': return edge_json_skip_string(s);
    case '{': return edge_json_skip_many(s, depth, true);
    case '[': return edge_json_skip_many(s, depth, false);
    case 't': case 'n': case 'f': {
      const char *word = *s->p == 't' ? "true" : *s->p == 'n' ? "null" : "false";
      if (!edge_starts(*s, word)) return false;
      *s = edge_from(*s, strlen(word));
      return true;
    }
    default: return edge_json_skip_number(s);
  }
}

/* The raw text of the value at the start of s, which moves past it. */
EDGE_API bool edge_json_value(edge_span *s, edge_span *value) {
  edge_json_space(s);
  const uint8_t *from = s->p;
  if (!edge_json_skip(s, 0)) return false;
  *value = edge_make(from, (size_t)(s->p - from));
  return true;
}

/* Step through an object or array: start with `rest` = its raw text and `first` = true; key is empty for arrays. */
EDGE_API bool edge_json_next(edge_span *rest, bool *first, edge_span *key, edge_span *value) {
  bool object = *first ? rest->n && *rest->p == '{' : key->n != 0;
  if (*first ? !(edge_json_take(rest, object ? '{' : '[')) : !edge_json_take(rest, ',')) return false;
  *first = false;
  *key = edge_make(rest->p, 0);
  if (object && (!edge_json_value(rest, key) || !edge_json_take(rest, ':'))) return false;
  return edge_json_value(rest, value);
}

static inline bool edge_json_key_is(edge_span key, const char *name) {
  return key.n == strlen(name) + 2 && !memcmp(key.p + 1, name, key.n - 2);
}

/* The raw value of a member of an object (the last value of a repeated member); false if there is none. */
EDGE_API bool edge_json_member(edge_span object, const char *name, edge_span *value) {
  edge_span key, v;
  bool first = true, found = false;
  if (!object.n || *object.p != '{') return false;
  while (edge_json_next(&object, &first, &key, &v))
    if (edge_json_key_is(key, name)) *value = v, found = true;
  return found;
}

EDGE_API unsigned edge_hex4(const uint8_t *p) {
  unsigned v = 0;
  for (int i = 0; i < 4; i++) v = v * 16 + edge_hex(p[i]);
  return v;
}

/* The text between a raw string's quotes, with its escapes. */
static inline edge_span edge_json_inner(edge_span raw) { return raw.n < 2 ? edge_make(raw.p, 0) : edge_make(raw.p + 1, raw.n - 2); }

EDGE_API size_t edge_utf8_put(char *out, unsigned c) {
  if (c < 0x80) { out[0] = (char)c; return 1; }
  if (c < 0x800) { out[0] = (char)(0xc0 | c >> 6); out[1] = (char)(0x80 | (c & 63)); return 2; }
  if (c < 0x10000) { out[0] = (char)(0xe0 | c >> 12); out[1] = (char)(0x80 | (c >> 6 & 63)); out[2] = (char)(0x80 | (c & 63)); return 3; }
  out[0] = (char)(0xf0 | c >> 18); out[1] = (char)(0x80 | (c >> 12 & 63)); out[2] = (char)(0x80 | (c >> 6 & 63)); out[3] = (char)(0x80 | (c & 63));
  return 4;
}

/* Copy a JSON string's text to out[cap] with a zero at the end, which does not count; -1 if it is not a string or does not fit. */
EDGE_API long edge_json_text(edge_span raw, char *out, size_t cap) {
  if (raw.n < 2 || *raw.p != '"') return -1;
  size_t n = 0;
  for (size_t i = 1; i < raw.n - 1;) {
    if (n + 5 > cap) return -1;
    if (raw.p[i] != '\\') { out[n++] = (char)raw.p[i++]; continue; }
    char e = (char)raw.p[i + 1];
    i += 2;
    if (e != 'u') { out[n++] = e == 'b' ? '\b' : e == 'f' ? '\f' : e == 'n' ? '\n' : e == 'r' ? '\r' : e == 't' ? '\t' : e; continue; }
    unsigned c = edge_hex4(raw.p + i);
    i += 4;
    if (c >= 0xd800 && c < 0xdc00 && i + 6 <= raw.n - 1 && raw.p[i] == '\\' && raw.p[i + 1] == 'u') {
      unsigned d = edge_hex4(raw.p + i + 2);
      if (d >= 0xdc00 && d < 0xe000) { c = 0x10000 + ((c - 0xd800) << 10) + (d - 0xdc00); i += 6; }
    }
    n += edge_utf8_put(out + n, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
  }
  out[n] = 0;
  return (long)n;
}

/* Copy an object's members unchanged, without the named members, as `"a":1,"b":2` with a trailing comma if there are any. */
EDGE_API void edge_put_members(edge_span object, const char *const *without, size_t count) {
  edge_span key, value;
  bool first = true;
  if (!object.n || *object.p != '{') return;
  while (edge_json_next(&object, &first, &key, &value)) {
    bool drop = false;
    for (size_t i = 0; i < count; i++) drop = drop || edge_json_key_is(key, without[i]);
    if (drop) continue;
    edge_put(key.p, key.n);
    edge_put(":", 1);
    edge_put(value.p, value.n);
    edge_put(",", 1);
  }
}

#endif
