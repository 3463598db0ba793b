import Evidence
import Glibc

/// One line at the bottom of a terminal that is drawn anew, and taken away before other text is
/// printed, so that it never scrolls away what matters. Without a terminal it is silent.
struct StatusLine {
  private let isActive: Bool
  private var isShown = false

  /// - Parameter quiet: never shown.
  init(quiet: Bool) {
    isActive = !quiet && isatty(STDERR_FILENO) == 1
  }

  mutating func show(_ text: String) {
    guard isActive else { return }
    var size = winsize()
    let columns = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 ? Int(size.ws_col) : 80
    put("\r\u{1b}[K" + text.prefix(max(20, columns - 1)))
    isShown = true
  }

  mutating func clear() {
    guard isShown else { return }
    put("\r\u{1b}[K")
    isShown = false
  }

  private func put(_ text: String) {
    let bytes = Array(text.utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
  }
}
