package import Evidence
import Glibc
import LinuxHost

/// What every world of the lab stands on: a directory for all files and two network namespaces that
/// are joined by a veth, whose ends were made inside them, so that the host never sees an interface.
/// Everything has a name of this run.
package struct Ground: Sendable {
  /// Names, as `upclose.lab-PID-START-N`.
  package var name: String
  /// `ip` of iproute2.
  package var ip: String

  /// Where directories are made: memory, not disk, decides nothing here.
  static let parent = "/tmp"

  package var directory: String { "\(Self.parent)/\(name)" }

  /// Removes what crashed runs with the same prefix have left, and takes a new name.
  /// - Parameter prefix: letters, digits and dots.
  /// - Throws: `ProbeError` without root or iproute2.
  package init(prefix: String) throws {
    guard getuid() == 0 else {
      throw ProbeError(
        doing: "build the lab's world", reason: "it needs root for network namespaces and cgroups",
        remedy: "run it as root")
    }
    guard !prefix.isEmpty,
      prefix.utf8.allSatisfy({ $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: "/") })
    else {
      throw ProbeError(doing: "name the world '\(prefix)'", reason: "- and / are not possible")
    }
    guard let ip = findProgram("ip") else {
      throw ProbeError(
        doing: "find ip", reason: "no program of that name on PATH or in /usr/sbin",
        remedy: "apt-get install iproute2")
    }
    self.ip = ip
    name = RunName.next(prefix).description
    try Leftovers.removeDead(prefix: prefix, parent: Self.parent, ip: ip)
  }

  package func makeDirectory(_ undo: Undo) throws {
    let directory = directory
    // mkdir(2) fails if somebody else has made it: only then is it ours, to fill and to remove.
    guard mkdir(directory, 0o755) == 0 else {
      throw ProbeError(doing: "make \(directory)", reason: errorText(errno))
    }
    undo.register("remove \(directory)") { try removeTree(directory) }
  }

  /// - Parameters:
  ///   - backends: addresses of the backends' side, all in nginx's network of 24 bits.
  ///   - relay: makes `veth0` in each of the two namespaces, instead of a veth.
  package func makeNamespaces(
    nginx: IPAddress, backends: [IPAddress], undo: Undo,
    relay: ((Namespace, Namespace) throws -> Void)? = nil
  ) throws -> (nginx: Namespace, backends: Namespace) {
    let names = ["\(name)-nginx", "\(name)-backends"]
    for name in names {
      let (ip, output) = (ip, "\(Self.parent)/\(name).out")
      undo.register("remove namespace \(name)") {
        try removeNamespace(name, ip: ip, output: output)
      }
      try configure(["netns", "add", name])
    }
    let spaces = try names.map { name in
      let space = try Namespace(name: name)
      undo.register("leave namespace \(name)") { space.close() }
      return space
    }
    if let relay {
      try relay(spaces[0], spaces[1])
    } else {
      try configure([
        "link", "add", "veth0", "netns", names[0], "type", "veth", "peer", "name", "veth0",
        "netns", names[1],
      ])
    }
    for (name, own) in zip(names, [[nginx], backends]) {
      for address in own {
        try configure(["-n", name, "address", "add", "\(address)/24", "dev", "veth0"])
      }
      try configure(["-n", name, "link", "set", "lo", "up"])
      try configure(["-n", name, "link", "set", "veth0", "up"])
    }
    return (spaces[0], spaces[1])
  }

  private func configure(_ arguments: [String]) throws {
    try runProgram(ip, arguments, output: "\(directory)/ip.out")
  }
}
