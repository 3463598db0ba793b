import Evidence
import Glibc
import Testing

@testable import NginxProbe

@Suite struct ConfigurationTests {
  func parse(_ text: String) throws -> [Directive] {
    try NginxConfiguration.directives(ofOption: text)
  }

  func words(_ text: String) throws -> [[String]] {
    try parse(text).map { [$0.name] + $0.arguments }
  }

  @Test(arguments: [
    ("user www-data;", [["user", "www-data"]]),
    ("a b;c d;", [["a", "b"], ["c", "d"]]),
    ("a \"b c\" 'd \"e';", [["a", "b c", "d \"e"]]),
    ("a \"b\\\"c\" 'd\\'e' f\\ g h\\;i;", [["a", "b\"c", "d'e", "f\\ g", "h\\;i"]]),
    ("a \"x\\ty\\nz\\q\";", [["a", "x\ty\nz\\q"]]),
    ("a b\"c\"d e'f;", [["a", "b\"c\"d", "e'f"]]),
    ("a #comment; {\n b;# more\n", [["a", "b"]]),
    ("a b#c;", [["a", "b#c"]]),
    ("a ${var}x $y;", [["a", "${var}x", "$y"]]),
    ("log_format m '$a \"$b\"'\n  '$c';", [["log_format", "m", "$a \"$b\"", "$c"]]),
    ("if ($a = \"x\") { b; }", [["if", "($a", "=", "x", ")"]]),
    ("\u{feff}a;", [["a"]]),
    ("a \"\";", [["a", ""]]),
    ("a é\u{1F600};", [["a", "é\u{1F600}"]]),
  ])
  func `words`(text: String, expected: [[String]]) throws {
    #expect(try words(text) == expected)
  }

  @Test func `blocks, and lines`() throws {
    let tree = try parse("http {\n  server {\n    listen 80;\n  }\n}\nevents { }\n")
    let option = "command line"
    #expect(
      tree == [
        Directive(
          name: "http",
          block: [
            Directive(
              name: "server",
              block: [Directive(name: "listen", arguments: ["80"], file: option, line: 3)],
              file: option, line: 2)
          ], file: option, line: 1),
        Directive(name: "events", block: [], file: option, line: 6),
      ])
  }

  @Test func `map, if, types and Lua`() throws {
    let tree = try parse(
      """
      map $http_upgrade $connection_upgrade { default upgrade; '' close; "~^a{2}$" b; }
      types { text/html html htm; }
      content_by_lua_block {
        -- a comment with a brace }
        --[[ a long
        one } ]]
        local s = "}" .. '\\'}' .. [==[ ]] } ]==]
        if a[b[1]] then ngx.say({ x = { 1 } }) end
      }
      set_by_lua_block $x { return "}" }
      after;
      """)
    #expect(
      tree.map(\.name) == [
        "map", "types", "content_by_lua_block", "set_by_lua_block", "after",
      ])
    #expect(tree.last?.line == 11)
    #expect(tree[0].block?.map(\.name) == ["default", "", "~^a{2}$"])
  }

  @Test(arguments: [
    ("a b", "command line:1: unexpected end of file: `a` is not ended by \";\""),
    ("\na {\n b;\n", "command line:2: unexpected end of file: `a` is never closed"),
    ("a; }", "command line:1: unexpected \"}\""),
    ("a {\n b }", "command line:2: unexpected \"}\": `b` is not ended by \";\""),
    (";", "command line:1: unexpected \";\""),
    ("{", "command line:1: unexpected \"{\""),
    ("a;\nb \"c\nd;", "command line:2: the quote is never closed"),
    ("a \"b\"c;", "command line:1: unexpected \"c\" behind a closing quote"),
    ("x_by_lua_block {\n '}'", "command line:1: the block of Lua is never closed"),
    ("include none.conf;", "command line:1: it includes /none.conf, which does not exist"),
    (String(repeating: "a {", count: 1000), "command line:1: blocks are nested too deep"),
  ])
  func `broken`(text: String, message: String) {
    let error = #expect(throws: ConfigurationError.self) { try parse(text) }
    #expect(error?.description == message)
  }

  @Test func `no cut and no byte makes it trap`() {
    let text = Array(
      "http{upstream \"a b\"{server 1.2.3.4:5 max_fails=2;}#x\nx_by_lua_block{[=[}]=]}a ${b} 'c\\';}"
        .utf8)
    for length in 0...text.count {
      _ = try? NginxConfiguration.directives(
        ofOption: String(decoding: text[..<length], as: UTF8.self))
    }
    for index in text.indices {
      for byte: UInt8 in [0, 10, 34, 39, 59, 91, 92, 123, 125, 255] {
        var bad = text
        bad[index] = byte
        _ = try? NginxConfiguration.directives(ofOption: String(decoding: bad, as: UTF8.self))
      }
    }
  }

  @Test func `files that include others`() throws {
    let directory = try TemporaryDirectory()
    mkdir(directory["conf.d"], 0o755)
    try directory.write("nginx.conf", "a;\ninclude conf.d/*.conf;\ninclude one.inc;\nz;")
    try directory.write("one.inc", "one;")
    try directory.write("conf.d/20.conf", "\ntwenty;")
    try directory.write("conf.d/10.conf", "ten;")
    try directory.write("conf.d/readme", "not read")
    let read = try NginxConfiguration(file: directory["nginx.conf"])
    #expect(read.directives.map(\.name) == ["a", "ten", "twenty", "one", "z"])
    #expect(read.directives[2].location == directory["conf.d/20.conf"] + ":2")
    #expect(read.files.count == 4)
    // As a container sees it.
    let inside = try NginxConfiguration(file: "/nginx.conf", root: directory.path)
    #expect(inside.directives[2].location == "/conf.d/20.conf:2")
    try directory.write("one.inc", "x;\n}")
    let error = #expect(throws: ConfigurationError.self) {
      try NginxConfiguration(file: directory["nginx.conf"])
    }
    #expect(error?.description == directory["one.inc"] + ":2: unexpected \"}\"")
    try directory.write("one.inc", "include one.inc;")
    let loop = #expect(throws: ConfigurationError.self) {
      try NginxConfiguration(file: directory["nginx.conf"])
    }
    #expect(loop?.reason == "files include one another in a loop")
    try directory.write("one.inc", "include one.inc; include one.inc;")
    #expect(throws: ConfigurationError.self) {
      try NginxConfiguration(file: directory["nginx.conf"])
    }
  }

  @Test func `what nginx -T prints`() throws {
    let dump = """
      nginx: the configuration file /etc/nginx/nginx.conf syntax is ok
      # configuration file /etc/nginx/nginx.conf:
      a;
      include sites/*;
      include /x/y.conf;

      # configuration file /etc/nginx/sites/b:
      # configuration file
      b;

      # configuration file /x/y.conf:
      y;
      """
    let read = try NginxConfiguration(dump: Array(dump.utf8), from: "dump")
    #expect(read.path == "/etc/nginx/nginx.conf")
    #expect(
      read.directives.map(\.location) == [
        "/etc/nginx/nginx.conf:1", "/etc/nginx/sites/b:2", "/x/y.conf:1",
      ])
    let error = #expect(throws: ConfigurationError.self) {
      try NginxConfiguration(dump: Array("a;".utf8), from: "dump")
    }
    #expect(error?.file == "dump")
  }

  @Test(.enabled(if: access("/etc/nginx/nginx.conf", R_OK) == 0))
  func `what Debian ships`() throws {
    let read = try NginxConfiguration(file: "/etc/nginx/nginx.conf")
    #expect(read.directives.contains { $0.name == "http" && !($0.block ?? []).isEmpty })
    for name in [
      "fastcgi_params", "proxy_params", "mime.types", "fastcgi.conf", "koi-utf", "win-utf",
    ] where access("/etc/nginx/\(name)", R_OK) == 0 {
      #expect(throws: Never.self) { try NginxConfiguration(file: "/etc/nginx/\(name)") }
    }
  }
}
