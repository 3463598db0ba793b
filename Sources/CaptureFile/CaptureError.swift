/// Why a capture could not be read or written any further, and where.
public struct CaptureError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The file, or `standard input`.
  public var path: String
  /// Bytes before the block or record at fault; nil when the file could not be opened at all.
  public var offset: UInt64?
  /// As `the file ends within a packet`.
  public var reason: String

  public init(path: String, offset: UInt64? = nil, reason: String) {
    self.path = path
    self.offset = offset
    self.reason = reason
  }

  public var description: String {
    path + (offset.map { ": byte \($0)" } ?? "") + ": " + reason
  }
}
