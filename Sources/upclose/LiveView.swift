import Correlator
import Evidence
import Glibc
import Report

/// The last lines of a terminal, drawn anew in place and taken away before other text is printed, so
/// that what matters is never scrolled away. Without a terminal, or on one that cannot move its
/// cursor, it is silent.
struct LiveView {
  private let mode: LiveMode
  private let isActive: Bool
  private var shown: [String] = []

  /// - Parameter quiet: never shown.
  init(_ mode: LiveMode, quiet: Bool) {
    self.mode = mode
    let isDumb = getenv("TERM").map { String(cString: $0) == "dumb" } ?? true
    isActive = !quiet && mode != .off && isatty(STDERR_FILENO) == 1 && !isDumb
  }

  /// Whether the upstreams' table is wanted: there is a terminal that has room for it.
  var wantsTable: Bool { isActive && mode == .table && size.rows >= 16 }

  /// - Parameters:
  ///   - table: asked for only when there is room for it; given the columns.
  ///   - status: the last line.
  mutating func show(table: (Int) -> [String], status: String) {
    guard isActive else { return }
    let size = size
    var lines = wantsTable ? table(size.columns - 1) : []
    // Of the terminal at most half: the rest is for the incidents.
    if lines.count > size.rows / 2 { lines = [] }
    lines.append(status)
    // A line that wraps could not be taken away again.
    lines = lines.map { String($0.prefix(max(20, size.columns - 1))) }
    guard lines != shown else { return }
    put(erasing + lines.joined(separator: "\n"))
    shown = lines
  }

  mutating func clear() {
    guard !shown.isEmpty else { return }
    put(erasing)
    shown = []
  }

  /// To the start of the first line shown, and everything behind it.
  private var erasing: String {
    "\r" + (shown.count > 1 ? "\u{1b}[\(shown.count - 1)A" : "") + "\u{1b}[J"
  }

  private var size: (columns: Int, rows: Int) {
    var size = winsize()
    guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else {
      return (80, 24)
    }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  private func put(_ text: String) {
    let bytes = Array(text.utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
  }
}
