/// Colours and width of a text report; plain unless it goes to a terminal.
public struct TextStyle: Sendable {
  public var isColored: Bool
  /// Columns at which lines are broken; nil: never (a line an incident, for grep).
  public var width: Int?
  /// Seconds east of UTC, in which times are shown.
  public var utcOffset: Int

  public init(isColored: Bool = false, width: Int? = nil, utcOffset: Int = 0) {
    self.isColored = isColored
    self.width = width
    self.utcOffset = utcOffset
  }

  func bold(_ text: String) -> String { sgr("1", text) }
  func dim(_ text: String) -> String { sgr("2", text) }
  func red(_ text: String) -> String { sgr("31", text) }
  func green(_ text: String) -> String { sgr("32", text) }
  func yellow(_ text: String) -> String { sgr("33", text) }

  private func sgr(_ code: String, _ text: String) -> String {
    isColored ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }

  /// Breaks text that starts with an indent between words, and keeps that indent on every line.
  func wrap(_ text: String, keeping indent: String) -> String {
    guard let width, text.count > width else { return text }
    var lines: [String] = []
    var line = ""
    for word in text.dropFirst(indent.count).split(separator: " ") {
      if !line.isEmpty, indent.count + line.count + 1 + word.count > width {
        lines.append(indent + line)
        line = String(word)
      } else {
        line += line.isEmpty ? String(word) : " " + word
      }
    }
    lines.append(indent + line)
    return lines.joined(separator: "\n")
  }
}

/// Text padded with spaces on the right to a width.
func padded(_ text: String, _ width: Int) -> String {
  text + String(repeating: " ", count: max(0, width - text.count))
}

/// `97 %`; never rounded up to certainty.
func percent(_ probability: Double) -> String {
  let rounded = Int((probability * 100).rounded())
  return probability < 1 && rounded == 100 ? ">99 %" : "\(rounded) %"
}

/// Text of at most so many characters; the last is `…` where more was there.
func shortened(_ text: String, _ most: Int) -> String {
  text.count > most ? text.prefix(max(0, most - 1)) + "…" : text
}
