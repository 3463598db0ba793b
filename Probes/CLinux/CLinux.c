#define _GNU_SOURCE
#include "CLinux.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int clinux_set_no_new_privs(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); }
int clinux_keep_caps(int on) { return prctl(PR_SET_KEEPCAPS, on, 0, 0, 0); }
int clinux_setresuid(uid_t r, uid_t e, uid_t s) { return setresuid(r, e, s); }
int clinux_setresgid(gid_t r, gid_t e, gid_t s) { return setresgid(r, e, s); }
int clinux_capset_self(struct __user_cap_header_struct *header,
                       const struct __user_cap_data_struct *data) {
  return (int)syscall(SYS_capset, header, data);
}
int clinux_capget_self(struct __user_cap_header_struct *header,
                       struct __user_cap_data_struct *data) {
  return (int)syscall(SYS_capget, header, data);
}

int clinux_setns(int fd, int type) { return setns(fd, type); }
int clinux_unshare(int flags) { return unshare(flags); }
const int clinux_CLONE_NEWNET = CLONE_NEWNET;

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
int clinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

// include/uapi/linux/pidfd.h of Linux 6.15; older headers lack it.
struct clinux_pidfd_info {
  uint64_t mask;
  uint64_t cgroupid;
  uint32_t pid, tgid, ppid;
  uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  int32_t exit_code;
};
#define CLINUX_PIDFD_INFO_EXIT (1UL << 3)
#define CLINUX_PIDFD_GET_INFO _IOWR(0xFF, 11, struct clinux_pidfd_info)
int clinux_pidfd_exit_status(int pidfd, int32_t *status) {
  struct clinux_pidfd_info info;
  memset(&info, 0, sizeof info);
  info.mask = CLINUX_PIDFD_INFO_EXIT;
  if (ioctl(pidfd, CLINUX_PIDFD_GET_INFO, &info) != 0) return -1;
  if (!(info.mask & CLINUX_PIDFD_INFO_EXIT)) {
    errno = EAGAIN;
    return -1;
  }
  *status = info.exit_code;
  return 0;
}

int clinux_termination_signalfd(void) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  if (pthread_sigmask(SIG_BLOCK, &set, 0) != 0) return -1;
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int clinux_name_thread(const char *name) {
  int error = pthread_setname_np(pthread_self(), name);
  if (error == 0) return 0;
  errno = error;
  return -1;
}
int clinux_set_parent_death_signal(int signal) { return prctl(PR_SET_PDEATHSIG, signal); }
int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}
