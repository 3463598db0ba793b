/// Builds HTML: what comes from outside goes through `text` or `attribute`, which escape it; only
/// what this module wrote itself goes through `raw`.
struct HTML {
  private(set) var source = ""

  mutating func raw(_ markup: String) { source += markup }

  mutating func text(_ text: String) { Self.escape(text, to: &source) }

  /// An element with text in it.
  mutating func element(_ name: StaticString, _ attributes: [Attribute] = [], _ text: String) {
    open(name, attributes)
    self.text(text)
    source += "</\(name)>"
  }

  /// The same without attributes.
  mutating func element(_ name: StaticString, _ text: String) { element(name, [], text) }

  /// An element with more in it.
  mutating func element(
    _ name: StaticString, _ attributes: [Attribute] = [], _ body: (inout HTML) -> Void
  ) {
    open(name, attributes)
    body(&self)
    source += "</\(name)>\n"
  }

  /// An element without an end.
  mutating func void(_ name: StaticString, _ attributes: [Attribute]) { open(name, attributes) }

  private mutating func open(_ name: StaticString, _ attributes: [Attribute]) {
    source += "<\(name)"
    for attribute in attributes {
      source += " \(attribute.name)=\""
      Self.escape(attribute.value, to: &source)
      source += "\""
    }
    source += ">"
  }

  struct Attribute {
    var name: StaticString
    var value: String
    init(_ name: StaticString, _ value: String) {
      self.name = name
      self.value = value
    }
  }

  /// Safe in text and within double quotes (HTML Living Standard, 13.3 "escaping a string").
  private static func escape(_ text: String, to source: inout String) {
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": source += "&amp;"
      case "<": source += "&lt;"
      case ">": source += "&gt;"
      case "\"": source += "&quot;"
      case "'": source += "&#39;"
      // No character of a document; a parser would complain.
      case _ where scalar.value < 0x20 && scalar != "\n" && scalar != "\t" || scalar.value == 0x7f:
        source += "\u{fffd}"
      default: source.unicodeScalars.append(scalar)
      }
    }
  }
}

extension HTML.Attribute {
  static func `class`(_ value: String) -> Self { Self("class", value) }
  static func id(_ value: String) -> Self { Self("id", value) }
}

/// A position in percent of the width, with as many decimals as a zoom needs.
func percentage(_ fraction: Double) -> String { fixed(fraction * 100, decimals: 5) + "%" }
