/// The options that a master was started with, from its title: `nginx: master process ` and its
/// command line, words joined by spaces (nginx-1.22.1, src/os/unix/ngx_process_cycle.c).
public struct NginxArguments: Hashable, Sendable {
  /// `-c`.
  public var configuration: String?
  /// `-p`.
  public var prefix: String?
  /// `-g`: directives.
  public var directives: String?
  /// `-e` (since 1.19.5).
  public var errorLog: String?

  static let titleStart = "nginx: master process "
  static let workerTitle = "nginx: worker process"

  public init(
    configuration: String? = nil, prefix: String? = nil, directives: String? = nil,
    errorLog: String? = nil
  ) {
    self.configuration = configuration
    self.prefix = prefix
    self.directives = directives
    self.errorLog = errorLog
  }

  /// Nil when it is no master's title.
  init?(title: String) {
    guard let line = title[...].value(after: Self.titleStart) else { return nil }
    self.init()
    // The program's own name comes first.
    var words = line.split(separator: " ")[...].dropFirst()
    while let word = words.popFirst() {
      guard word.hasPrefix("-") else { continue }
      var letters = word.dropFirst()
      while let letter = letters.popFirst() {
        guard "pecgs".contains(letter) else { continue }
        // As nginx does: the rest of the word, or the next one.
        let value = letters.isEmpty ? words.popFirst().map(String.init) : String(letters)
        take(letter, value ?? "", &words)
        break
      }
    }
  }

  private mutating func take(
    _ letter: Character, _ value: String, _ words: inout ArraySlice<Substring>
  ) {
    switch letter {
    case "p": prefix = value
    case "e": errorLog = value
    case "c": configuration = value
    case "g":
      var text = value
      // Its spaces are no longer told from those between words: it ends behind a semicolon.
      while let next = words.first, !(text.hasSuffix(";") && next.hasPrefix("-")) {
        text += " " + next
        words.removeFirst()
      }
      directives = text
    default: break
    }
  }

  /// The same as words for a program's arguments.
  var words: [String] {
    var result: [String] = []
    if let prefix { result += ["-p", prefix] }
    if let errorLog { result += ["-e", errorLog] }
    if let configuration { result += ["-c", configuration] }
    if let directives { result += ["-g", directives] }
    return result
  }
}
