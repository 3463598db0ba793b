/// Reads what `NodeEncoder` wrote. Members that are not known are passed over, so that an older
/// version reads what a newer one recorded.
struct NodeDecoder: Decoder {
  fileprivate let node: JSONNode
  let codingPath: [any CodingKey]
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  static func decode<T: Decodable>(_ type: T.Type, from bytes: some Sequence<UInt8>) throws -> T {
    try decode(type, try JSONParser.parse(bytes), [])
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) throws -> KeyedDecodingContainer<Key> {
    KeyedDecodingContainer(KeyedMembers<Key>(node: node, codingPath: codingPath))
  }

  func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
    guard case .array(let elements) = node else { throw mismatch("an array") }
    return UnkeyedElements(elements: elements, codingPath: codingPath)
  }

  func singleValueContainer() throws -> any SingleValueDecodingContainer {
    SingleElement(node: node, codingPath: codingPath)
  }

  private func mismatch(_ what: String) -> DecodingError {
    Self.mismatch(what, codingPath)
  }

  fileprivate static func mismatch(_ what: String, _ path: [any CodingKey]) -> DecodingError {
    .dataCorrupted(.init(codingPath: path, debugDescription: "\(what) was expected"))
  }

  fileprivate static func decode<T: Decodable>(
    _ type: T.Type, _ node: JSONNode, _ path: [any CodingKey]
  ) throws -> T {
    if let type = type as? any Leaf.Type {
      guard let value = type.init(node: node) as? T else { throw mismatch("\(type)", path) }
      return value
    }
    return try T(from: NodeDecoder(node: node, codingPath: path))
  }
}

/// A simple value, made from a node without a decoder.
private protocol Leaf { init?(node: JSONNode) }

extension String: Leaf {
  fileprivate init?(node: JSONNode) {
    guard case .string(let text) = node else { return nil }
    self = text
  }
}

extension Bool: Leaf {
  fileprivate init?(node: JSONNode) {
    guard case .bool(let truth) = node else { return nil }
    self = truth
  }
}

extension Double: Leaf {
  fileprivate init?(node: JSONNode) {
    switch node {
    case .number(let digits): self.init(digits)
    case .string(let text) where ["inf", "-inf", "nan"].contains(text): self.init(text)
    default: return nil
    }
  }
}

extension FixedWidthInteger where Self: Leaf {
  fileprivate init?(node: JSONNode) {
    guard case .number(let digits) = node else { return nil }
    self.init(digits)
  }
}
extension Int: Leaf {}
extension Int8: Leaf {}
extension Int16: Leaf {}
extension Int32: Leaf {}
extension Int64: Leaf {}
extension UInt: Leaf {}
extension UInt8: Leaf {}
extension UInt16: Leaf {}
extension UInt32: Leaf {}
extension UInt64: Leaf {}

private struct KeyedMembers<Key: CodingKey>: KeyedDecodingContainerProtocol {
  let node: JSONNode
  let codingPath: [any CodingKey]

  private var members: [(key: String, value: JSONNode)] {
    if case .object(let members) = node { members } else { [] }
  }

  var allKeys: [Key] { members.compactMap { Key(stringValue: $0.key) } }

  /// The one value of an enumeration's case stands without its `_0`.
  private func find(_ key: Key) -> JSONNode? {
    if let member = members.first(where: { $0.key == key.stringValue }) { return member.value }
    return key.stringValue == "_0" ? node : nil
  }

  private func get(_ key: Key) throws -> JSONNode {
    guard let node = find(key) else {
      throw DecodingError.keyNotFound(
        key, .init(codingPath: codingPath, debugDescription: "\(key.stringValue) is missing"))
    }
    return node
  }

  func contains(_ key: Key) -> Bool { find(key) != nil }
  func decodeNil(forKey key: Key) throws -> Bool { try get(key).isNull }

  func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
    try NodeDecoder.decode(type, try get(key), codingPath + [key])
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) throws -> KeyedDecodingContainer<Nested> {
    try nested(key).container(keyedBy: type)
  }

  func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
    try nested(key).unkeyedContainer()
  }

  func superDecoder() throws -> any Decoder {
    NodeDecoder(
      node: members.first { $0.key == "super" }?.value ?? .null, codingPath: codingPath)
  }

  func superDecoder(forKey key: Key) throws -> any Decoder { try nested(key) }

  private func nested(_ key: Key) throws -> NodeDecoder {
    NodeDecoder(node: try get(key), codingPath: codingPath + [key])
  }
}

private struct UnkeyedElements: UnkeyedDecodingContainer {
  let elements: [JSONNode]
  let codingPath: [any CodingKey]
  var currentIndex = 0

  init(elements: [JSONNode], codingPath: [any CodingKey]) {
    self.elements = elements
    self.codingPath = codingPath
  }

  var count: Int? { elements.count }
  var isAtEnd: Bool { currentIndex >= elements.count }

  private mutating func take() throws -> JSONNode {
    guard !isAtEnd else { throw NodeDecoder.mismatch("another element", codingPath) }
    defer { currentIndex += 1 }
    return elements[currentIndex]
  }

  mutating func decodeNil() throws -> Bool {
    guard !isAtEnd, elements[currentIndex].isNull else { return false }
    currentIndex += 1
    return true
  }

  mutating func decode<T: Decodable>(_ type: T.Type) throws -> T {
    try NodeDecoder.decode(type, try take(), codingPath)
  }

  mutating func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type
  ) throws -> KeyedDecodingContainer<Nested> {
    try NodeDecoder(node: try take(), codingPath: codingPath).container(keyedBy: type)
  }

  mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
    try NodeDecoder(node: try take(), codingPath: codingPath).unkeyedContainer()
  }

  mutating func superDecoder() throws -> any Decoder {
    NodeDecoder(node: try take(), codingPath: codingPath)
  }
}

private struct SingleElement: SingleValueDecodingContainer {
  let node: JSONNode
  let codingPath: [any CodingKey]

  func decodeNil() -> Bool { node.isNull }
  func decode<T: Decodable>(_ type: T.Type) throws -> T {
    try NodeDecoder.decode(type, node, codingPath)
  }
}
