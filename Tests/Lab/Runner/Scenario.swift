import Evidence

/// One experiment: what is built, and what is then done to it. Written as a small file of lines, of
/// which `Tests/Lab/Scenarios/README` tells the words.
struct Scenario: Sendable {
  var name: String
  var title = ""
  var backends: [BackendSpec] = []
  /// Lines for nginx's configuration, by where they go.
  var nginx: [NginxLine] = []
  var nginxWorkers = 1
  /// What stands between nginx and its backends; nil: nothing.
  var relay: RelaySpec?
  /// The first and the last of nginx's local ports.
  var localPorts: (first: Int, last: Int)?
  var load: [LoadSpec] = []
  /// Those of one phase are made at once, the phases one after the other.
  var phases: [[FaultSpec]] = [[]]
  /// Nothing is wrong here: any incident or finding is a false one.
  var isQuiet = false
  /// Part of what the fast tests run.
  var isQuick = false
  /// A quiet scenario runs so long.
  var seconds = 10

  struct BackendSpec: Sendable {
    var name: String
    var kind: String
    var parameters: [String: String]

    subscript(_ key: String, default value: String) -> String { parameters[key] ?? value }
  }

  struct NginxLine: Sendable {
    /// `main`, `events`, `http`, `server`, `upstream` or `location`.
    var place: String
    /// Only for this backend; nil: for all.
    var backend: String?
    var text: String
  }

  struct RelaySpec: Sendable {
    /// Milliseconds that each packet takes, either way.
    var delay: Int64
    /// A connection on which nothing went for so many milliseconds is forgotten, as a firewall does.
    var forget: Int64?
    /// Who sends on a forgotten connection gets a reset; else nothing.
    var resets: Bool
  }

  struct LoadSpec: Sendable {
    var backend: String
    /// Requests a second.
    var rate: Double
    var parallel: Int
  }

  struct FaultSpec: Sendable {
    var backend: String
    var kind: String
    /// What a verdict ought to say.
    var cause: String
    var parameters: [String: String]

    var count: Int { Int(parameters["count"] ?? "") ?? 1 }
    /// Injections a second, all threads together; 0: as fast as they go.
    var rate: Double { Double(parameters["rate"] ?? "") ?? 0 }
    var parallel: Int { max(1, Int(parameters["parallel"] ?? "") ?? 1) }
    var method: String { parameters["method"] ?? "POST" }

    subscript(_ key: String) -> String? { parameters[key] }
    func number(_ key: String, _ standard: Int) -> Int { Int(parameters[key] ?? "") ?? standard }
  }

  var faultCount: Int { phases.joined().map(\.count).reduce(0, +) }

  /// The same with every fault made so many times as often.
  func repeated(_ times: Int) -> Scenario {
    var copy = self
    copy.phases = phases.map { phase in
      phase.map { fault in
        var fault = fault
        fault.parameters["count"] = "\(fault.count * times)"
        return fault
      }
    }
    return copy
  }
}

struct ScenarioError: Error, CustomStringConvertible {
  var description: String
}

extension Scenario {
  /// - Throws: `ScenarioError` that names the line.
  init(name: String, text: String) throws {
    self.name = name
    for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    {
      var words = line.prefix { $0 != "#" }.split(separator: " ").map(String.init)
      guard !words.isEmpty else { continue }
      let word = words.removeFirst()
      guard read(word, words) else {
        throw ScenarioError(description: "\(name):\(number + 1): cannot read '\(line)'")
      }
    }
    phases.removeAll(where: \.isEmpty)
    let known = Set(backends.map(\.name) + ["pair"])
    for fault in phases.joined() where !known.contains(fault.backend) {
      throw ScenarioError(description: "\(name): there is no backend '\(fault.backend)'")
    }
  }

  private mutating func read(_ word: String, _ words: [String]) -> Bool {
    let (positional, pairs) = Self.split(words)
    switch word {
    case "title":
      title = words.joined(separator: " ")
    case "backend" where positional.count == 2:
      backends.append(BackendSpec(name: positional[0], kind: positional[1], parameters: pairs))
    case "nginx" where words.count >= 2:
      let place = words[0].split(separator: ":").map(String.init)
      guard ["main", "events", "http", "server", "upstream", "location"].contains(place[0]) else {
        return false
      }
      nginx.append(
        NginxLine(
          place: place[0], backend: place.count > 1 ? place[1] : nil,
          text: words.dropFirst().joined(separator: " ")))
    case "workers" where words.count == 1:
      nginxWorkers = Int(words[0]) ?? 1
    case "relay" where positional.isEmpty:
      relay = RelaySpec(
        delay: pairs["delay"].flatMap(Int64.init) ?? 0, forget: pairs["forget"].flatMap(Int64.init),
        resets: pairs["answer"] == "reset")
    case "ports" where words.count == 2:
      guard let first = Int(words[0]), let last = Int(words[1]) else { return false }
      localPorts = (first, last)
    case "load" where positional.count == 1:
      load.append(
        LoadSpec(
          backend: positional[0], rate: pairs["rate"].flatMap(Double.init) ?? 10,
          parallel: pairs["parallel"].flatMap(Int.init) ?? 1))
    case "fault" where positional.count == 2:
      guard let cause = pairs["cause"] else { return false }
      phases[phases.count - 1].append(
        FaultSpec(
          backend: positional[0], kind: positional[1], cause: cause, parameters: pairs))
    case "quick" where words.isEmpty:
      isQuick = true
    case "then" where words.isEmpty:
      phases.append([])
    case "quiet" where words.count == 1:
      isQuiet = true
      seconds = Int(words[0]) ?? seconds
    default:
      return false
    }
    return true
  }

  private static func split(_ words: [String]) -> (positional: [String], pairs: [String: String]) {
    var positional: [String] = []
    var pairs: [String: String] = [:]
    for word in words {
      if let sign = word.firstIndex(of: "=") {
        pairs[String(word[..<sign])] = String(word[word.index(after: sign)...])
      } else {
        positional.append(word)
      }
    }
    return (positional, pairs)
  }
}
