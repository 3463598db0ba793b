// Linux interfaces that Swift's Glibc module does not offer: either the header is not in its module
// map, the function is variadic, or it hides behind _GNU_SOURCE. No logic.
#pragma once
#include <spawn.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/timex.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/errqueue.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>

// Not of Linux but of the processor: asks for a cache line that will soon be read.
static inline void clinux_prefetch(const void *address) { __builtin_prefetch(address); }

// Each returns 0 (or a descriptor), or -1 with errno set.

// Privileges. Those that end in _self act on the calling thread only.
int clinux_set_no_new_privs(void);
int clinux_keep_caps(int on);
int clinux_setresuid(uid_t r, uid_t e, uid_t s);
int clinux_setresgid(gid_t r, gid_t e, gid_t s);
int clinux_capset_self(struct __user_cap_header_struct *header,
                       const struct __user_cap_data_struct *data);
int clinux_capget_self(struct __user_cap_header_struct *header,
                       struct __user_cap_data_struct *data);

// Namespaces: of the calling thread.
int clinux_setns(int fd, int type);
int clinux_unshare(int flags);
extern const int clinux_CLONE_NEWNET;

// A descriptor that becomes readable when the process ends.
int clinux_pidfd_open(pid_t pid);
// Raw wait status of the process behind a pidfd after it ended (PIDFD_GET_INFO, Linux 6.15).
// Returns 0 with *status set, or -1 with errno set (ENOTTY, EINVAL: the kernel does not say).
int clinux_pidfd_exit_status(int pidfd, int32_t *status);

// SIGINT and SIGTERM (SIGHUP too) blocked for this thread and those it starts, as a descriptor.
int clinux_termination_signalfd(void);

// Name of the calling thread, at most 15 bytes.
int clinux_name_thread(const char *name);
// The process dies with this signal when its parent does.
int clinux_set_parent_death_signal(int signal);

// A spawned program gets no descriptor from `first` on. Returns 0 or an errno.
int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first);

// Starts a process that removes directory/name (a directory that is empty to rmdir, as a tracing
// instance) once the other end of its pipe, *life, is closed: by us, or because we were killed. It
// runs as who calls, without capabilities, and holds nothing else open. Returns its pid.
pid_t clinux_spawn_undertaker(int directory, const char *name, int *life);
