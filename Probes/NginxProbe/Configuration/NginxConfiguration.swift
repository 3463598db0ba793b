import Evidence
import LinuxHost

/// An nginx configuration: its directives as a tree, with everything that it includes in place.
public struct NginxConfiguration: Hashable, Sendable {
  /// The main file.
  public var path: String
  public var directives: [Directive]
  /// Every file that was read, the main one first.
  public var files: [String]

  /// Reads the output of `nginx -T`.
  /// - Throws: `ConfigurationError` with file and line.
  public init(dump bytes: [UInt8], from name: String) throws {
    let source = DumpSource(bytes)
    guard let main = source.main else {
      throw ConfigurationError(
        file: name, line: nil,
        reason: "no output of `nginx -T`: no line says `# configuration file PATH:`")
    }
    try self.init(main, source)
  }

  /// Reads a configuration file and what it includes.
  /// - Parameters:
  ///   - path: absolute, as nginx sees it.
  ///   - root: put before every path, as `/proc/4711/root`.
  /// - Throws: `ConfigurationError` with file and line.
  public init(file path: String, root: String = "") throws {
    try self.init(path, DiskSource(root: MountRoot(root)))
  }

  /// Reads a file that a user names: a configuration, or the output of `nginx -T`.
  /// - Throws: `ConfigurationError`.
  public init(givenFile path: String) throws {
    let bytes: [UInt8]
    do {
      bytes = try readFile(path == "-" ? "/dev/stdin" : path)
    } catch {
      throw ConfigurationError(
        file: path, line: nil, reason: (error as? ProbeError)?.reason ?? "\(error)")
    }
    if path == "-" || DumpSource.isDump(bytes) {
      try self.init(dump: bytes, from: path)
    } else {
      try self.init(file: path)
    }
  }

  init(_ path: String, _ source: any ConfigurationSource) throws {
    var parser = ConfigurationParser(source: source, main: path)
    directives = try parser.parse(path, includedFrom: nil)
    files = parser.files
    self.path = path
  }

  /// Directives in the text of an option (`nginx -g`).
  static func directives(ofOption text: String) throws -> [Directive] {
    var parser = ConfigurationParser(source: DumpSource([]), main: "/")
    return try parser.parse(Array(text.utf8), file: "command line")
  }
}

/// Builds the tree.
struct ConfigurationParser {
  /// Files within files; more is a loop.
  private static let deepestInclude = 32
  private static let deepestBlock = 128
  /// Readings of files, the same one twice counted twice.
  private static let mostReadings = 20_000

  private let source: any ConfigurationSource
  /// Relative includes start here: the main file's directory.
  private let base: String
  private(set) var files: [String] = []
  private var includeDepth = 0
  private var readings = 0

  init(source: any ConfigurationSource, main: String) {
    self.source = source
    let slash = main.utf8.lastIndex(of: UInt8(ascii: "/"))
    base = slash.map { String(main[...$0]) } ?? ""
  }

  mutating func parse(_ path: String, includedFrom: Directive?) throws -> [Directive] {
    let bytes: [UInt8]?
    do {
      bytes = try source.contents(path)
    } catch {
      throw ConfigurationError(
        file: path, line: nil, reason: (error as? ProbeError)?.description ?? "\(error)")
    }
    guard let bytes else {
      throw ConfigurationError(
        file: includedFrom?.file ?? path, line: includedFrom?.line,
        reason: includedFrom == nil ? "no such file" : "it includes \(path), which does not exist")
    }
    if !files.contains(path) { files.append(path) }
    return try parse(bytes, file: path)
  }

  mutating func parse(_ bytes: [UInt8], file: String) throws -> [Directive] {
    var lexer = ConfigurationLexer(bytes, file: file)
    return try block(&lexer, file: file, opened: nil, depth: 0)
  }

  /// The directives up to the brace that closes a block, or to the end of the file.
  private mutating func block(
    _ lexer: inout ConfigurationLexer, file: String, opened: Directive?, depth: Int
  ) throws -> [Directive] {
    var result: [Directive] = []
    guard depth < Self.deepestBlock else { throw lexer.error("blocks are nested too deep") }
    while true {
      let token = try lexer.next()
      switch token {
      case .end:
        if let opened {
          throw lexer.error(
            "unexpected end of file: `\(opened.name)` is never closed", line: opened.line)
        }
        return result
      case .close:
        if opened == nil { throw lexer.error("unexpected \"}\"") }
        return result
      case .semicolon: throw lexer.error("unexpected \";\"")
      case .open: throw lexer.error("unexpected \"{\"")
      case .word(let name):
        var directive = Directive(name: name, file: file, line: lexer.line)
        try finish(&directive, &lexer, depth: depth)
        if name == "include", directive.block == nil, directive.arguments.count == 1 {
          result += try included(directive)
        } else {
          result.append(directive)
        }
      }
    }
  }

  /// Reads a directive's words, and its block.
  private mutating func finish(
    _ directive: inout Directive, _ lexer: inout ConfigurationLexer, depth: Int
  ) throws {
    while true {
      switch try lexer.next() {
      case .word(let word): directive.arguments.append(word)
      case .semicolon: return
      case .open:
        if directive.name.hasSuffix("_by_lua_block") {
          try lexer.skipLua()
          directive.block = []
        } else {
          directive.block = try block(
            &lexer, file: directive.file, opened: directive, depth: depth + 1)
        }
        return
      case .close:
        throw lexer.error("unexpected \"}\": `\(directive.name)` is not ended by \";\"")
      case .end:
        throw lexer.error(
          "unexpected end of file: `\(directive.name)` is not ended by \";\"",
          line: directive.line)
      }
    }
  }

  private mutating func included(_ directive: Directive) throws -> [Directive] {
    readings += 1
    guard includeDepth < Self.deepestInclude, readings < Self.mostReadings else {
      throw ConfigurationError(
        file: directive.file, line: directive.line, reason: "files include one another in a loop")
    }
    includeDepth += 1
    defer { includeDepth -= 1 }
    let name = directive.arguments[0]
    let path = name.hasPrefix("/") ? name : base + name
    guard path.utf8.contains(where: { "*?[".utf8.contains($0) }) else {
      return try parse(path, includedFrom: directive)
    }
    var result: [Directive] = []
    for match in source.matches(path) { result += try parse(match, includedFrom: directive) }
    return result
  }
}
