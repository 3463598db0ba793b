/// Turns any `Encodable` into JSON.
///
/// Two things differ from Foundation's encoder, which is also not linked here: numbers are written
/// whole, and what the compiler makes of an enumeration's case with one value, `{"port":{"_0":{…}}}`,
/// loses the `_0`, so that `jq` asks for `.fact.port.target`.
struct NodeEncoder: Encoder {
  fileprivate let slot: Slot
  let codingPath: [any CodingKey]
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  static func encode(_ value: some Encodable) throws -> JSONNode {
    let slot = Slot()
    try value.encode(to: NodeEncoder(slot: slot, codingPath: []))
    return slot.node
  }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    slot.becomeObject()
    return KeyedEncodingContainer(KeyedNodes<Key>(slot: slot, codingPath: codingPath))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    slot.becomeArray()
    return UnkeyedNodes(slot: slot, codingPath: codingPath)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer {
    SingleNode(slot: slot, codingPath: codingPath)
  }

  /// Where a value is put together: containers of it may be open at the same time.
  fileprivate final class Slot {
    private enum Content {
      case leaf(JSONNode)
      case array([Slot])
      case object([(key: String, slot: Slot)])
    }
    private var content = Content.leaf(.null)

    init(_ node: JSONNode = .null) { content = .leaf(node) }

    func set(_ node: JSONNode) { content = .leaf(node) }
    func becomeObject() { if case .object = content {} else { content = .object([]) } }
    func becomeArray() { if case .array = content {} else { content = .array([]) } }

    func add(_ slot: Slot, _ key: String) {
      guard case .object(var members) = content else { return }
      content = .leaf(.null)
      members.append((key, slot))
      content = .object(members)
    }

    func add(_ slot: Slot) {
      guard case .array(var elements) = content else { return }
      content = .leaf(.null)
      elements.append(slot)
      content = .array(elements)
    }

    var count: Int { if case .array(let elements) = content { elements.count } else { 0 } }

    var node: JSONNode {
      switch content {
      case .leaf(let node): node
      case .array(let elements): .array(elements.map(\.node))
      case .object(let members):
        if members.count == 1, members[0].key == "_0" {
          members[0].slot.node
        } else {
          .object(members.map { ($0.key, $0.slot.node) })
        }
      }
    }
  }

  /// The node of a simple value, without an encoder; nil for what has structure.
  fileprivate static func leaf(_ value: some Encodable) -> JSONNode? {
    switch value {
    case let text as String: .string(text)
    case let truth as Bool: .bool(truth)
    case let number as Double: self.number(number)
    case let number as Float: self.number(Double(number))
    case let number as any BinaryInteger: .number(String(number))
    default: nil
    }
  }

  /// JSON has no infinities: they are strings.
  private static func number(_ value: Double) -> JSONNode {
    value.isFinite ? .number(value.description) : .string(value.description)
  }

  fileprivate static func slot(
    of value: some Encodable, _ path: [any CodingKey]
  ) throws -> Slot {
    if let leaf = leaf(value) { return Slot(leaf) }
    let slot = Slot()
    try value.encode(to: NodeEncoder(slot: slot, codingPath: path))
    return slot
  }
}

private struct KeyedNodes<Key: CodingKey>: KeyedEncodingContainerProtocol {
  let slot: NodeEncoder.Slot
  let codingPath: [any CodingKey]

  func encodeNil(forKey key: Key) { slot.add(NodeEncoder.Slot(), key.stringValue) }

  func encode<T: Encodable>(_ value: T, forKey key: Key) throws {
    slot.add(try NodeEncoder.slot(of: value, codingPath), key.stringValue)
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type, forKey key: Key
  ) -> KeyedEncodingContainer<Nested> {
    nested(key).container(keyedBy: type)
  }

  func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
    nested(key).unkeyedContainer()
  }

  func superEncoder() -> any Encoder { nested("super") }
  func superEncoder(forKey key: Key) -> any Encoder { nested(key) }

  private func nested(_ key: Key) -> NodeEncoder { nested(key.stringValue) }

  private func nested(_ key: String) -> NodeEncoder {
    let inner = NodeEncoder.Slot()
    slot.add(inner, key)
    return NodeEncoder(slot: inner, codingPath: codingPath)
  }
}

private struct UnkeyedNodes: UnkeyedEncodingContainer {
  let slot: NodeEncoder.Slot
  let codingPath: [any CodingKey]
  var count: Int { slot.count }

  func encodeNil() { slot.add(NodeEncoder.Slot()) }
  func encode<T: Encodable>(_ value: T) throws {
    slot.add(try NodeEncoder.slot(of: value, codingPath))
  }

  func nestedContainer<Nested: CodingKey>(
    keyedBy type: Nested.Type
  ) -> KeyedEncodingContainer<Nested> {
    superNode().container(keyedBy: type)
  }

  func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer { superNode().unkeyedContainer() }
  func superEncoder() -> any Encoder { superNode() }

  private func superNode() -> NodeEncoder {
    let inner = NodeEncoder.Slot()
    slot.add(inner)
    return NodeEncoder(slot: inner, codingPath: codingPath)
  }
}

private struct SingleNode: SingleValueEncodingContainer {
  let slot: NodeEncoder.Slot
  let codingPath: [any CodingKey]

  func encodeNil() { slot.set(.null) }
  func encode<T: Encodable>(_ value: T) throws {
    if let leaf = NodeEncoder.leaf(value) {
      slot.set(leaf)
    } else {
      try value.encode(to: NodeEncoder(slot: slot, codingPath: codingPath))
    }
  }
}
