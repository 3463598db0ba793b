// The one piece of logic in this target: after a fork only C may run, since Swift's runtime may hold
// locks of threads that the child does not have.
#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static void close_from(int first) {
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  struct rlimit limit;
  int last = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 65536 ? (int)limit.rlim_cur : 65536;
  for (int fd = first; fd < last; fd++) close(fd);
}

static void bury(int life, int directory, const char *name) {
  // Nothing of the parent's is kept open: not its output, and not the tracing files, which would make
  // the directory busy.
  if (dup2(life, 0) < 0) _exit(1);
  int place = fcntl(directory, F_DUPFD, 3);
  if (place < 0 || dup2(place, 1) < 0) _exit(1);
  close_from(2);
  prctl(PR_SET_NAME, "upclose-undertk");
  // The owner's rights to the directory are enough.
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct none[2];
  memset(none, 0, sizeof none);
  syscall(SYS_capset, &header, none);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  char byte;
  for (;;) {
    ssize_t count = read(0, &byte, 1);
    if (count == 0 || (count < 0 && errno != EINTR)) break;
  }
  // A killed process's descriptors are closed a little after its pipe.
  for (int tries = 0; tries < 200; tries++) {
    if (unlinkat(1, name, AT_REMOVEDIR) == 0 || errno != EBUSY) break;
    struct timespec pause = {0, 50 * 1000 * 1000};
    nanosleep(&pause, 0);
  }
  _exit(0);
}

pid_t clinux_spawn_undertaker(int directory, const char *name, int *life) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  // No signal of the terminal or of the parent's handlers may reach it.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = fork();
  if (pid == 0) {
    setsid();
    bury(ends[0], directory, name);
  }
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, 0);
  close(ends[0]);
  if (pid < 0) {
    close(ends[1]);
    errno = error;
    return -1;
  }
  *life = ends[1];
  return pid;
}
