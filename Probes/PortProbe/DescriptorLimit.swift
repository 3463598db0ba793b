import Glibc
import LinuxHost

/// How many descriptors this process may have.
public enum DescriptorLimit {
  /// Raises the soft limit to the hard one.
  /// - Returns: the limit that now holds, and how many of it are free for connects.
  public static func raise() -> (limit: Int, free: Int) {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
      return (256, 200)
    }
    if limit.rlim_cur < limit.rlim_max {
      limit.rlim_cur = limit.rlim_max
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
    let allowed = Int(clamping: limit.rlim_cur)
    // A report that is written and a name that is looked up need some, too.
    let taken = directoryEntries("/proc/self/fd").count + 16
    return (allowed, max(1, allowed - taken))
  }
}
