/* What the test programs share: the event's id from stdin, and answers. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char line[1 << 20];
static char id[256];

static void event(void) {
  size_t n = 0;
  ssize_t r;
  while (n < sizeof line - 1 && (r = read(0, line + n, sizeof line - 1 - n)) > 0) n += (size_t)r;
  line[n] = 0;
  char *at = strstr(line, "\"id\":\"");
  if (!at) exit(9);
  at += 6;
  size_t length = strcspn(at, "\"");
  memcpy(id, at, length);
  id[length] = 0;
}

static int has(const char *word) { return strstr(line, word) != 0; }

/* An answer that names the files given, each as {"path": ...}. */
static void answer(int n, const char *const paths[]) {
  printf("{\"id\":\"%s\",\"events\":[{\"type\":\"t.out\",\"data\":{\"blobs\":[", id);
  for (int i = 0; i < n; i++) printf("%s{\"path\":\"%s\"}", i ? "," : "", paths[i]);
  printf("]}}]}\n");
}

static int put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return -errno;
  ssize_t n = write(fd, text, strlen(text));
  close(fd);
  return n < 0 ? -errno : 0;
}
