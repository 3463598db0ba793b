/// How a process ended, as `wait` tells it: the signal in seven bits, the exit code above.
struct WaitStatus: Equatable {
  var raw: Int32

  /// The signal that ended it, if one did.
  var signal: Int32? { raw & 0x7f == 0 ? nil : raw & 0x7f }
  var code: Int32? { raw & 0x7f == 0 ? raw >> 8 & 0xff : nil }
}
