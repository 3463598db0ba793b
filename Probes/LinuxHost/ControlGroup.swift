import Evidence

/// What `/proc/PID/cgroup` says of a process (cgroups(7)): version 1 has a line a hierarchy, version 2
/// one line, a host in transition both.
public struct ControlGroup: Equatable, Sendable {
  /// The memory controller's path, or else the unified hierarchy's: the one whose limit kills.
  public var path: String?
  /// The systemd unit that holds the process, as `app.service` or `session-1.scope`.
  public var unit: String?
  /// The id of its container, as docker, containerd, CRI-O and podman give them (64 hexadecimal
  /// digits), or the name of an LXC or nspawn machine.
  public var container: String?

  public init(_ bytes: [UInt8]) {
    var unified: String?
    for line in bytes.split(separator: 10) {
      let parts = line.split(
        separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let path = String(escapingControlsIn: parts[2])
      let controllers = parts[1].split(separator: UInt8(ascii: ","))
      if controllers.contains(where: { $0.elementsEqual("memory".utf8) }) { self.path = path }
      if parts[1].isEmpty { unified = path }
      // systemd's own hierarchy knows the unit also where no controller is used for it.
      let names = Self.names(in: path)
      unit = unit ?? names.unit
      container = container ?? names.container
    }
    // In a hybrid host the unified hierarchy limits nothing, but it tells more than the root.
    if path == nil || path == "/" && unified != nil && unified != "/" { path = unified }
  }

  /// The unit and the container that a path's components name, the innermost of each.
  public static func names(in path: String) -> (unit: String?, container: String?) {
    var unit: String?
    var container: String?
    for component in path.split(separator: "/").reversed() {
      if container == nil { container = Self.container(component) }
      if unit == nil, let name = Self.unit(component) { unit = name }
    }
    return (unit, container)
  }

  /// A service or a scope; a slice only groups them, and a container's scope is named by its id.
  private static func unit(_ component: Substring) -> String? {
    guard component.hasSuffix(".service") || component.hasSuffix(".scope"),
      hexadecimal(component) == nil
    else { return nil }
    return String(component)
  }

  private static func container(_ component: Substring) -> String? {
    if let id = hexadecimal(component) {
      // podman's monitor is outside of the container.
      return component.contains("conmon") ? nil : id
    }
    // LXC before and since 4; systemd-nspawn and machined.
    for (prefix, suffix) in [
      ("lxc.payload.", ""), ("systemd-nspawn@", ".service"), ("machine-", ".scope"),
    ]
    where component.hasPrefix(prefix) && component.hasSuffix(suffix) {
      let name = component.dropFirst(prefix.count).dropLast(suffix.count)
      if !name.isEmpty { return String(name) }
    }
    return nil
  }

  /// The first run of 64 hexadecimal digits: `docker-ID.scope`, `cri-containerd-ID.scope`,
  /// `crio-ID.scope`, `libpod-ID.scope`, `…slice:cri-containerd:ID`, or the id alone.
  private static func hexadecimal(_ component: Substring) -> String? {
    let bytes = component.utf8
    guard bytes.count >= 64 else { return nil }
    var start = bytes.startIndex
    var count = 0
    var index = bytes.startIndex
    while index < bytes.endIndex {
      let byte = bytes[index]
      let isDigit = (48...57).contains(byte) || (97...102).contains(byte)
      let next = bytes.index(after: index)
      if isDigit {
        if count == 0 { start = index }
        count += 1
        if count == 64 { return String(component[start..<next]) }
      } else {
        count = 0
      }
      index = next
    }
    return nil
  }
}
