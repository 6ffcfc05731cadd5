/* Tries to get out of its folders; says on stderr what worked, then answers with the files that it names. */
#include "step.h"

static void attempt(const char *what, int worked) { fprintf(stderr, "%s: %s\n", what, worked ? "WORKED" : "refused"); }

int main(void) {
  event();
  if (has("\"copy\"")) {
    char text[64] = {0};
    int fd = open("/blobs/a.txt", O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof text - 1) < 0) return 4;
    if (mkdir("/outputs/sub", 0755) || put("/outputs/sub/b.txt", text)) return 5;
    const char *names[] = {"/outputs/sub/b.txt"};
    answer(1, names);
    return 0;
  }
  if (has("\"name\":\"!")) {
    char *at = strstr(line, "\"name\":\"!") + 9, name[256] = {0};
    memcpy(name, at, strcspn(at, "\""));
    mkdir("/outputs/folder", 0755);
    const char *names[] = {name};
    answer(1, names);
    return 0;
  }
  attempt("write a blob", open("/blobs/a.txt", O_WRONLY) >= 0);
  attempt("make a blob", put("/blobs/new", "x") == 0);
  attempt("touch a blob", utimensat(AT_FDCWD, "/blobs/a.txt", 0, 0) == 0);
  attempt("touch an open blob", futimens(open("/blobs/a.txt", O_RDONLY), 0) == 0);
  attempt("cut a blob", truncate("/blobs/a.txt", 0) == 0);
  attempt("remove a blob", unlink("/blobs/a.txt") == 0);
  attempt("rename a blob", rename("/blobs/a.txt", "/outputs/a.txt") == 0);
  attempt("link a blob", link("/blobs/a.txt", "/outputs/a.txt") == 0);
  attempt("link outside", symlink("../blobs/a.txt", "/outputs/link") == 0);
  attempt("link to a file of the host", symlink("/etc/passwd", "/outputs/passwd") == 0);
  attempt("read above", open("/outputs/../../secret", O_RDONLY) >= 0);
  attempt("read the host", open("/etc/passwd", O_RDONLY) >= 0);
  attempt("write above", put("/outputs/../above", "x") == 0);
  printf("{\"id\":\"%s\",\"events\":[]}\n", id);
  return 0;
}
