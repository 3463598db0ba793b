import Evidence
import LinuxHost

extension Wording {
  /// A program that fails: an exception that nobody caught, a panic, a heap that is full.
  static let failures: [Rule] = [
    // Go (net/http/server.go): the handler's goroutine dies, and the connection is closed; it names
    // the client's end of it.
    Rule("http: panic serving ") { line in
      let peer = line.after("http: panic serving ").flatMap { rest in
        rest.before(": ").flatMap { Endpoint(String($0)) }
      }
      return Wording(.go, .exception, peer: peer)
    },
    Rule("panic: ") { line in
      line.begins(with: "panic: ") ? Wording(.go, .exception) : nil
    },
    Rule("fatal error: ") { line in
      guard line.begins(with: "fatal error: ") else { return nil }
      let isMemory = line.contains(text: "out of memory")
      return Wording(.go, isMemory ? .outOfMemory : .exception)
    },
    Rule("SIGSEGV: segmentation violation") { line in
      line.begins(with: "[signal SIGSEGV") || line.begins(with: "SIGSEGV")
        ? Wording(.go, .exception, signal: 11) : nil
    },
    // Node (src/node_errors.cc, lib/internal/process/execution.js): the stack follows, and since 17
    // the version ends it.
    Rule("Uncaught ") { line in
      line.contains(text: "Error") || line.contains(text: "xception")
        ? Wording(.node, .exception) : nil
    },
    Rule("[UnhandledPromiseRejection") { _ in Wording(.node, .exception) },
    Rule("triggerUncaughtException(") { _ in Wording(.node, .exception) },
    Rule("Node.js v") { line in
      line.begins(with: "Node.js v") ? Wording(.node, .exception) : nil
    },
    Rule("JavaScript heap out of memory") { _ in Wording(.node, .outOfMemory, signal: 6) },
    // Java and Tomcat (org.apache.catalina.core, java.lang).
    Rule("java.lang.OutOfMemoryError") { _ in Wording(.java, .outOfMemory) },
    Rule("A fatal error has been detected by the Java Runtime Environment") { _ in
      Wording(.java, .exception)
    },
    Rule("Exception in thread \"") { _ in Wording(.java, .exception) },
    Rule("Servlet.service() for servlet [") { _ in Wording(.tomcat, .exception) },
    Rule("Maximum number of threads (") {
      Wording(.tomcat, .saturated, limit: $0.number(after: "Maximum number of threads ("))
    },
    Rule("Pausing ProtocolHandler [") { _ in Wording(.tomcat, .stopping) },
    Rule("Stopping ProtocolHandler [") { _ in Wording(.tomcat, .stopping) },
    Rule("Starting ProtocolHandler [") { _ in Wording(.tomcat, .started) },
    Rule("Error parsing HTTP request header") { _ in Wording(.tomcat, .exception) },
    // Python (Lib/traceback.py, Python/pythonrun.c, Modules/faulthandler.c).
    Rule("Traceback (most recent call last):") { _ in Wording(.python, .exception) },
    Rule("Fatal Python error: ") { _ in Wording(.python, .exception) },
    Rule("MemoryError") { line in
      line.begins(with: "MemoryError") ? Wording(.python, .outOfMemory) : nil
    },
  ]
}
