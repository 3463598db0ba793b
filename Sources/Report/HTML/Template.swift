/// The page, its style and its script: files of the repository, embedded in the program when it is
/// built.
enum Template {
  static var style: String { text(PackageResources.style_css) }
  static var script: String { text(PackageResources.script_js) }
  private static var page: String { text(PackageResources.page_html) }

  private static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

  /// The page with each `{{name}}` replaced, once and from left to right: what is put in is not
  /// looked through again, so that text from outside cannot name a place.
  static func filled(_ values: [(name: String, value: String)]) -> String {
    var result = ""
    var rest = page[...]
    while let mark = rest.firstRange(of: "{{"),
      let end = rest[mark.upperBound...].firstRange(of: "}}")
    {
      let name = rest[mark.upperBound..<end.lowerBound]
      result += rest[..<mark.lowerBound]
      result += values.first { $0.name == name }?.value ?? ""
      rest = rest[end.upperBound...]
    }
    return result + rest
  }
}

extension Substring {
  /// Where a text occurs first. (The standard library's own `firstRange` links the regular expression
  /// engine, half a megabyte.)
  fileprivate func firstRange(of text: StaticString) -> Range<Index>? {
    let wanted = Array("\(text)".utf8)
    let bytes = utf8
    var start = bytes.startIndex
    while let first = bytes[start...].firstIndex(of: wanted[0]) {
      var (at, matched) = (first, 0)
      while matched < wanted.count, at < bytes.endIndex, bytes[at] == wanted[matched] {
        at = bytes.index(after: at)
        matched += 1
      }
      if matched == wanted.count { return first..<at }
      start = bytes.index(after: first)
    }
    return nil
  }
}
