/// Why a capture could not be read or written any further, and where.
public struct CaptureError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The file, or `standard input`.
  public var path: String
  /// Bytes before the block or record at fault; nil when the file could not be opened at all.
  public var offset: UInt64?
  /// As `the file ends within a packet`.
  public var reason: String
  /// The file is good as far as it goes, but its last block or record is not whole: whoever wrote it
  /// was killed, or still writes.
  public var isCutShort = false
  /// There is not one byte in it.
  public var isEmptyFile = false

  public init(path: String, offset: UInt64? = nil, reason: String) {
    self.path = path
    self.offset = offset
    self.reason = reason
  }

  public var description: String {
    path + (offset.map { ": byte \($0)" } ?? "") + ": " + reason
  }
}
