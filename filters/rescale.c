/* rescale: a step that makes photos small: from JPEG or PNG to JPEG with a longest side of at most --max (default 640).
 *
 * A JPEG that is already small and upright is passed on unchanged. EXIF orientation is applied. Large images are decoded at
 * a fraction of their size (the JPEG library does that in the frequency domain) and then averaged by area to the final size.
 * The answer: {"id", "events": [{"type": "image.rescaled", "data": {the input's, "width", "height", "blobs"}}]}; width and
 * height are of the first image. An image that cannot be decoded is {"id", "error"}.
 */
#include "edge.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "jpeglib.h"
#include "jerror.h"

#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_FAILURE_STRINGS
#define STBI_MAX_DIMENSIONS 65535
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wunused-function"
#include "stb_image.h"
#pragma clang diagnostic pop

enum { MAX_PIXELS = 50 * 1000 * 1000, MAX_FILE = 64 << 20, MAX_BLOBS = 32, QUALITY = 85, MAX_NAME = 128 };

typedef struct { uint8_t *rgb; uint32_t width, height; } picture;
typedef struct { edge_span raw, cid; char name[MAX_NAME]; char out[MAX_NAME + 8]; bool written; } answer;

static edge_span event_id; /* the open event's raw "id", for an error answer from inside a decoder */
static char event_image[MAX_NAME];

/* Answer the event with an error and end: the JPEG library's errors must not return, and WASI has no longjmp. */
static _Noreturn void refuse(const char *why) {
  edge_out_n = 0;
  edge_puts("{\"id\":");
  edge_put(event_id.p, event_id.n);
  edge_puts(",\"error\":");
  char text[MAX_NAME + 256];
  int n = snprintf(text, sizeof text, "%s%s%s", event_image, *event_image ? ": " : "", why);
  edge_put_string(edge_make((uint8_t *)text, n < (int)sizeof text ? (size_t)n : sizeof text - 1));
  edge_puts("}\n");
  edge_flush();
  _Exit(0);
}

static void *take(size_t n) {
  void *p = malloc(n ? n : 1);
  if (!p) refuse("the image needs more memory than the step's limit allows");
  return p;
}

/* ---- area average, row by row ---- */

typedef struct {
  uint32_t in_w, in_h, out_w, out_h;
  uint32_t row, out_row;  /* the next input row, and the output row that is being summed */
  uint32_t *line, *sum;   /* one input row averaged along x (8.8), and the output row's weighed sum (8.24) */
  uint8_t *out;
} scaler;

/* Weights are integers: input cell i covers [i*out, (i+1)*out) and output cell o covers [o*in, (o+1)*in) of in*out units. */
static void scaler_init(scaler *s, uint32_t in_w, uint32_t in_h, uint32_t out_w, uint32_t out_h) {
  memset(s, 0, sizeof *s);
  s->in_w = in_w; s->in_h = in_h; s->out_w = out_w; s->out_h = out_h;
  s->line = take(sizeof(uint32_t) * 3 * out_w);
  s->sum = take(sizeof(uint32_t) * 3 * out_w);
  memset(s->sum, 0, sizeof(uint32_t) * 3 * out_w);
  s->out = take((size_t)3 * out_w * out_h);
}

static void scaler_along_x(scaler *s, const uint8_t *in) {
  uint32_t in_w = s->in_w, out_w = s->out_w;
  float unit = 256.0f / (float)in_w;
  uint32_t i = 0, left = out_w; /* the part of column i that is still unused */
  for (uint32_t o = 0; o < out_w; o++) {
    uint32_t need = in_w, r = 0, g = 0, b = 0;
    while (need) {
      uint32_t k = left < need ? left : need;
      r += k * in[3 * i]; g += k * in[3 * i + 1]; b += k * in[3 * i + 2];
      need -= k; left -= k;
      if (!left) i++, left = out_w;
    }
    s->line[3 * o] = (uint32_t)((float)r * unit + 0.5f);
    s->line[3 * o + 1] = (uint32_t)((float)g * unit + 0.5f);
    s->line[3 * o + 2] = (uint32_t)((float)b * unit + 0.5f);
  }
}

/* Add an input row: its part in the open output row, and the rest in the next output row. */
static void scaler_row(scaler *s, const uint8_t *in) {
  if (s->in_w == s->out_w && s->in_h == s->out_h) {
    memcpy(s->out + (size_t)3 * s->out_w * s->row++, in, (size_t)3 * s->out_w);
    return;
  }
  scaler_along_x(s, in);
  uint32_t n = 3 * s->out_w;
  uint64_t from = (uint64_t)s->row * s->out_h, to = from + s->out_h;
  s->row++;
  while (from < to && s->out_row < s->out_h) {
    uint64_t edge = (uint64_t)(s->out_row + 1) * s->in_h, upto = to < edge ? to : edge;
    uint64_t cell = (uint64_t)s->out_row * s->in_h; /* differences of rounded positions: they add up to exactly 2^16 */
    uint32_t weight = (uint32_t)(((upto - cell) << 16) / s->in_h - ((from - cell) << 16) / s->in_h);
    for (uint32_t i = 0; i < n; i++) s->sum[i] += s->line[i] * weight;
    from = upto;
    if (upto < edge) break;
    uint8_t *out = s->out + (size_t)n * s->out_row++;
    for (uint32_t i = 0; i < n; i++) {
      out[i] = (uint8_t)((s->sum[i] + (1u << 23)) >> 24);
      s->sum[i] = 0;
    }
  }
}

/* The size that fits within max x max, never larger than the input. */
static void fit(uint32_t w, uint32_t h, uint32_t max, uint32_t *out_w, uint32_t *out_h) {
  uint32_t longest = w > h ? w : h;
  *out_w = w; *out_h = h;
  if (longest <= max) return;
  *out_w = (uint32_t)(((uint64_t)w * max + longest / 2) / longest);
  *out_h = (uint32_t)(((uint64_t)h * max + longest / 2) / longest);
  if (!*out_w) *out_w = 1;
  if (!*out_h) *out_h = 1;
}

static void check_size(uint32_t w, uint32_t h) {
  if (!w || !h || (uint64_t)w * h > MAX_PIXELS) refuse("the image has no pixels or more than 50 million");
}

/* ---- JPEG ---- */

static void jpeg_failed(j_common_ptr c) {
  char text[JMSG_LENGTH_MAX];
  if (c->err->msg_code == JERR_OUT_OF_MEMORY) refuse("the image needs more memory than the step's limit allows");
  c->err->format_message(c, text);
  refuse(text);
}

/* Level -1 is a warning. Data that ends early or is invalid is an error; odd bytes between markers are common and harmless. */
static void jpeg_message(j_common_ptr c, int level) {
  int code = c->err->msg_code;
  if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE)) refuse("the JPEG is damaged or cut off");
}

static struct jpeg_error_mgr *jpeg_errors(struct jpeg_error_mgr *e) {
  jpeg_std_error(e);
  e->error_exit = jpeg_failed;
  e->emit_message = jpeg_message;
  return e;
}

/* An unsigned number of n bytes. */
static unsigned number(const uint8_t *p, int n, bool big) {
  unsigned v = 0;
  for (int i = 0; i < n; i++) v |= (unsigned)p[big ? n - 1 - i : i] << 8 * i;
  return v;
}

/* EXIF orientation 1..8 (TIFF tag 0x0112 of the first directory); 1 if there is none. */
static int orientation(const struct jpeg_decompress_struct *c) {
  for (jpeg_saved_marker_ptr m = c->marker_list; m; m = m->next) {
    const uint8_t *t = m->data + 6;
    if (m->marker != JPEG_APP0 + 1 || m->data_length < 20 || memcmp(m->data, "Exif\0", 6)) continue;
    size_t n = m->data_length - 6;
    bool big = t[0] == 'M';
    size_t at = number(t + 4, 4, big);
    if (at > n - 2) continue;
    for (unsigned i = 0, count = number(t + at, 2, big); i < count && at + 2 + 12 * (i + 1) <= n; i++) {
      const uint8_t *entry = t + at + 2 + 12 * i;
      if (number(entry, 2, big) != 0x0112) continue;
      unsigned v = number(entry + 8, 2, big);
      return v >= 1 && v <= 8 ? (int)v : 1;
    }
  }
  return 1;
}

/* Decode to at most max on the longest side. `keep`: the file itself is small and upright, use it unchanged. */
static picture decode_jpeg(const uint8_t *data, size_t n, uint32_t max, bool *keep, int *turn) {
  struct jpeg_decompress_struct c;
  struct jpeg_error_mgr errors;
  c.err = jpeg_errors(&errors);
  jpeg_create_decompress(&c);
  jpeg_save_markers(&c, JPEG_APP0 + 1, 0xffff);
  jpeg_mem_src(&c, data, (unsigned long)n);
  jpeg_read_header(&c, TRUE);
  check_size(c.image_width, c.image_height);
  if (c.jpeg_color_space == JCS_CMYK || c.jpeg_color_space == JCS_YCCK) refuse("a CMYK image");
  uint32_t out_w, out_h;
  fit(c.image_width, c.image_height, max, &out_w, &out_h);
  *turn = orientation(&c);
  *keep = out_w == c.image_width && out_h == c.image_height && *turn == 1;
  c.out_color_space = JCS_RGB;
  c.scale_denom = 8;
  c.scale_num = 8;
  /* The smallest fraction that is a third larger than the final size: the last part by area keeps the edges clean. */
  while (c.scale_num > 1 && (uint64_t)c.image_width * (c.scale_num / 2) * 3 >= (uint64_t)out_w * 8 * 4) c.scale_num /= 2;
  jpeg_start_decompress(&c);
  scaler s;
  scaler_init(&s, c.output_width, c.output_height, out_w, out_h);
  uint8_t *rows = take((size_t)3 * c.output_width * (size_t)c.rec_outbuf_height);
  JSAMPROW pointers[8];
  for (int i = 0; i < c.rec_outbuf_height && i < 8; i++) pointers[i] = rows + (size_t)i * 3 * c.output_width;
  while (c.output_scanline < c.output_height) {
    unsigned got = jpeg_read_scanlines(&c, pointers, (unsigned)c.rec_outbuf_height);
    for (unsigned i = 0; i < got; i++) scaler_row(&s, pointers[i]);
  }
  jpeg_finish_decompress(&c);
  jpeg_destroy_decompress(&c);
  free(rows);
  return (picture){s.out, out_w, out_h};
}

static void encode_jpeg(const picture *image, uint8_t **out, unsigned long *n) {
  struct jpeg_compress_struct c;
  struct jpeg_error_mgr errors;
  c.err = jpeg_errors(&errors);
  jpeg_create_compress(&c);
  *out = NULL;
  *n = 0;
  jpeg_mem_dest(&c, out, n);
  c.image_width = image->width;
  c.image_height = image->height;
  c.input_components = 3;
  c.in_color_space = JCS_RGB;
  jpeg_set_defaults(&c);
  jpeg_set_quality(&c, QUALITY, TRUE);
  jpeg_start_compress(&c, TRUE);
  while (c.next_scanline < c.image_height) {
    JSAMPROW row = image->rgb + (size_t)3 * image->width * c.next_scanline;
    jpeg_write_scanlines(&c, &row, 1);
  }
  jpeg_finish_compress(&c);
  jpeg_destroy_compress(&c);
}

/* Turn and mirror according to EXIF orientation 2..8. */
static picture turned(picture in, int how) {
  if (how == 1) return in;
  bool swap = how >= 5;
  picture out = {take((size_t)3 * in.width * in.height), swap ? in.height : in.width, swap ? in.width : in.height};
  for (uint32_t y = 0; y < out.height; y++)
    for (uint32_t x = 0; x < out.width; x++) {
      uint32_t u = swap ? y : x, v = swap ? x : y; /* the source pixel, before mirroring */
      if (how == 2 || how == 3 || how == 7 || how == 8) u = in.width - 1 - u;
      if (how == 3 || how == 4 || how == 6 || how == 7) v = in.height - 1 - v;
      memcpy(out.rgb + 3 * ((size_t)y * out.width + x), in.rgb + 3 * ((size_t)v * in.width + u), 3);
    }
  free(in.rgb);
  return out;
}

/* ---- PNG ---- */

/* Transparent pixels become white. */
static picture decode_png(const uint8_t *data, size_t n, uint32_t max) {
  int w, h, channels;
  if (n < 24) refuse("the PNG is damaged");
  check_size(number(data + 16, 4, true), number(data + 20, 4, true)); /* IHDR comes first: check it before allocating memory */
  if (!stbi_info_from_memory(data, (int)n, &w, &h, &channels)) refuse("the PNG is damaged");
  int planes = channels == 2 || channels == 4 ? 4 : 3;
  uint8_t *pixels = stbi_load_from_memory(data, (int)n, &w, &h, &channels, planes);
  if (!pixels) refuse("the PNG is damaged, or needs more memory than the step's limit allows");
  uint32_t out_w, out_h;
  fit((uint32_t)w, (uint32_t)h, max, &out_w, &out_h);
  scaler s;
  scaler_init(&s, (uint32_t)w, (uint32_t)h, out_w, out_h);
  uint8_t *line = take((size_t)3 * (size_t)w);
  for (int y = 0; y < h; y++) {
    const uint8_t *p = pixels + (size_t)y * (size_t)w * (size_t)planes;
    for (int x = 0; x < w; x++, p += planes)
      for (int k = 0; k < 3; k++) {
        unsigned alpha = planes == 4 ? p[3] : 255;
        line[3 * x + k] = (uint8_t)((p[k] * alpha + 255 * (255 - alpha) + 127) / 255);
      }
    scaler_row(&s, line);
  }
  free(line);
  stbi_image_free(pixels);
  return (picture){s.out, out_w, out_h};
}

/* ---- files ---- */

static uint8_t *read_file(const char *path, size_t *n) {
  struct stat st;
  int fd = open(path, O_RDONLY);
  if (fd < 0 || fstat(fd, &st)) refuse("the image cannot be read");
  if (st.st_size > MAX_FILE) refuse("the image is larger than 64 MiB");
  uint8_t *data = take((size_t)st.st_size);
  *n = 0;
  while (*n < (size_t)st.st_size) {
    ssize_t r = read(fd, data + *n, (size_t)st.st_size - *n);
    if (r < 0) refuse("the image cannot be read");
    if (!r) break;
    *n += (size_t)r;
  }
  close(fd);
  return data;
}

static void write_file(const char *path, const uint8_t *data, size_t n) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) refuse("the small image cannot be written");
  while (n) {
    ssize_t r = write(fd, data, n);
    if (r <= 0) refuse("the small image cannot be written");
    data += r;
    n -= (size_t)r;
  }
  if (close(fd)) refuse("the small image cannot be written");
}

/* "hall/1.png" becomes "hall_1.jpg": one plain name in /outputs; `index` makes equal names different. */
static void output_name(answer *a, const answer *before, size_t index) {
  char stem[MAX_NAME];
  size_t n = 0;
  for (const char *p = a->name; *p && n < MAX_NAME - 16; p++) {
    uint8_t c = (uint8_t)*p;
    stem[n++] = c <= ' ' || c == 127 || strchr("/\\:\"<>|?*", c) ? '_' : (char)c;
  }
  while (n && edge_utf8((uint8_t *)stem, 1) && (stem[n - 1] & 0xc0) == 0x80) n--; /* a cut character */
  stem[n] = 0;
  char *dot = strrchr(stem, '.');
  if (dot && dot != stem) *dot = 0;
  if (!*stem || *stem == '.') snprintf(stem, sizeof stem, "image");
  snprintf(a->out, sizeof a->out, "%s.jpg", stem);
  for (size_t i = 0; i < index; i++)
    if (!strcmp(before[i].written ? before[i].out : before[i].name, a->out)) {
      snprintf(a->out, sizeof a->out, "%s-%u.jpg", stem, (unsigned)index);
      break;
    }
}

/* ---- the event ---- */

static void rescale(answer *all, size_t index, const char *path, uint32_t max, uint32_t *width, uint32_t *height) {
  answer *a = &all[index];
  size_t n;
  bool keep = false;
  int turn = 1;
  uint8_t *data = read_file(path, &n);
  picture image;
  if (n > 2 && data[0] == 0xff && data[1] == 0xd8) image = decode_jpeg(data, n, max, &keep, &turn);
  else if (n >= 8 && !memcmp(data, "\x89PNG\r\n\x1a\n", 8)) image = decode_png(data, n, max);
  else refuse("neither a JPEG nor a PNG");
  free(data);
  if (!keep || !a->cid.n) {
    uint8_t *jpeg;
    unsigned long size;
    char file[sizeof a->out + 16];
    image = turned(image, turn);
    encode_jpeg(&image, &jpeg, &size);
    output_name(a, all, index);
    snprintf(file, sizeof file, "/outputs/%s", a->out);
    write_file(file, jpeg, size);
    free(jpeg);
    a->written = true;
  }
  if (!*width) *width = image.width, *height = image.height;
  free(image.rgb);
}

static void put_blob(const answer *a) {
  static const char *const path[] = {"path"};
  if (a->written) {
    edge_puts("{\"name\":");
    edge_put_string(edge_make((const uint8_t *)a->out, strlen(a->out)));
    edge_puts(",\"type\":\"image/jpeg\"}");
    return;
  }
  edge_puts("{");
  edge_put_members(a->raw, path, 1);
  edge_out_n--; /* the comma after the last member; a blob has a name, so there is a comma */
  edge_puts("}");
}

static void put_answer(edge_span data, const answer *all, size_t count, uint32_t width, uint32_t height) {
  static const char *const without[] = {"blobs", "width", "height"};
  edge_puts("{\"id\":");
  edge_put(event_id.p, event_id.n);
  edge_puts(",\"events\":[{\"type\":\"image.rescaled\",\"data\":{");
  edge_put_members(data, without, 3);
  edge_puts("\"width\":");
  edge_put_number(width);
  edge_puts(",\"height\":");
  edge_put_number(height);
  edge_puts(",\"blobs\":[");
  for (size_t i = 0; i < count; i++) {
    if (i) edge_puts(",");
    put_blob(&all[i]);
  }
  edge_puts("]}}]}\n");
}

static void event(edge_span line, uint32_t max) {
  static answer all[MAX_BLOBS];
  edge_span object, data, blobs, blob, value, none;
  size_t count = 0;
  uint32_t width = 0, height = 0;
  *event_image = 0;
  event_id = edge_make((const uint8_t *)"null", 4);
  if (!edge_json_value(&line, &object) || !edge_json_member(object, "id", &event_id)) refuse("the line is no event");
  if (!edge_json_member(object, "data", &data) || !edge_json_member(data, "blobs", &blobs)) refuse("the event has no blobs");
  for (bool first = true; edge_json_next(&blobs, &first, &none, &blob); count++) {
    char path[1024], type[128];
    if (count == MAX_BLOBS) refuse("more than 32 blobs");
    answer *a = &all[count];
    memset(a, 0, sizeof *a);
    a->raw = blob;
    *event_image = 0;
    if (!edge_json_member(blob, "name", &value) || edge_json_text(value, a->name, sizeof a->name) < 0) refuse("a blob without a good name");
    if (edge_json_member(blob, "cid", &value) && value.n > 2) a->cid = value;
    if (!edge_json_member(blob, "type", &value) || edge_json_text(value, type, sizeof type) < 0) refuse("a blob without a type");
    if (strncmp(type, "image/", 6)) continue;
    memcpy(event_image, a->name, sizeof event_image);
    if (!edge_json_member(blob, "path", &value) || edge_json_text(value, path, sizeof path) < 0) refuse("a blob without a path");
    rescale(all, count, path, max, &width, &height);
  }
  *event_image = 0;
  if (!width) refuse("the event has no image");
  put_answer(data, all, count, width, height);
}

int main(int argc, char **argv) {
  long max = 640;
  for (int i = 1; i < argc; i++) {
    char *end;
    if (strcmp(argv[i], "--max") || i + 1 == argc || (max = strtol(argv[++i], &end, 10)) < 16 || max > 8192 || *end) {
      fputs("usage: rescale [--max PIXELS]   (16 to 8192, default 640)\n", stderr);
      return 2;
    }
  }
  edge_reader reader = {0};
  edge_span piece;
  while (edge_lines(&reader, &piece))
    while (piece.n) {
      const uint8_t *newline = memchr(piece.p, '\n', piece.n);
      edge_span line = edge_make(piece.p, newline ? (size_t)(newline - piece.p) : piece.n);
      piece = edge_from(piece, line.n + 1);
      if (line.n) event(line, (uint32_t)max);
    }
  edge_flush();
  return 0;
}
