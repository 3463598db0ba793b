/// Eight bytes of nginx's words as the number that they are when read at once (little-endian).
enum Word {
  /// ` [error]`
  static var error: UInt64 { 0x5d72_6f72_7265_5b20 }
  /// ` [alert]`
  static var alert: UInt64 { 0x5d74_7265_6c61_5b20 }
  /// ` [emerg]`
  static var emerg: UInt64 { 0x5d67_7265_6d65_5b20 }
  /// ` [debug]`
  static var debug: UInt64 { 0x5d67_7562_6564_5b20 }
  /// ` [notice`
  static var notice: UInt64 { 0x6563_6974_6f6e_5b20 }
  /// ` [crit] `
  static var crit: UInt64 { 0x205d_7469_7263_5b20 }
  /// ` [warn] `
  static var warn: UInt64 { 0x205d_6e72_6177_5b20 }
  /// ` [info] `
  static var info: UInt64 { 0x205d_6f66_6e69_5b20 }
  /// `, client`
  static var client: UInt64 { 0x746e_6569_6c63_202c }
  /// `, server`
  static var server: UInt64 { 0x7265_7672_6573_202c }
  /// `, reques`
  static var request: UInt64 { 0x7365_7571_6572_202c }
  /// `, upstre`
  static var upstream: UInt64 { 0x6572_7473_7075_202c }
  /// `, host: `
  static var host: UInt64 { 0x203a_7473_6f68_202c }
  /// `, referr`
  static var referrer: UInt64 { 0x7272_6566_6572_202c }
  /// The last eight of `, request: "`
  static var requestEnd: UInt64 { 0x2220_3a74_7365_7571 }
  /// The last eight of `, upstream: "`
  static var upstreamEnd: UInt64 { 0x2220_3a6d_6165_7274 }
  /// The last eight of `, referrer: "`
  static var referrerEnd: UInt64 { 0x2220_3a72_6572_7265 }
  /// ` while `, and one byte that is not looked at
  static var `while`: UInt64 { 0x0020_656c_6968_7720 }
  static var firstSeven: UInt64 { 0x00ff_ffff_ffff_ffff }
  /// ` HTTP/`, and two bytes that are not looked at
  static var http: UInt64 { 0x0000_2f50_5454_4820 }
  static var firstSix: UInt64 { 0x0000_ffff_ffff_ffff }

  /// The eight bytes from `position` on, which must all be there.
  @inline(__always)
  static func at(_ base: UnsafePointer<UInt8>, _ position: Int) -> UInt64 {
    UnsafeRawPointer(base + position).loadUnaligned(as: UInt64.self).littleEndian
  }
}
