import CLinux

/// Deadlines, taken out in time order.
///
/// Nearly every deadline lies seconds ahead and is replaced before it comes. So they wait in the slots
/// of a wheel, 17 ms each, where entering one costs the same however many there are; a slot whose time
/// has come is put in order in a small heap. What lies beyond the wheel's 17 s waits in another heap.
///
/// An entry is never removed before its time; whoever takes it checks whether it still holds.
struct Timers: ~Copyable {
  private static var slotShift: Int64 { 24 }
  private static var slots: Int { 1024 }

  private struct Entry: BitwiseCopyable {
    var time: Int64 = 0
    var number: UInt32 = 0
  }

  /// Some entries of a slot, side by side: a list of single ones would wait for memory at each.
  private struct Chunk: BitwiseCopyable {
    /// Those before, which are full; 0 for none.
    var next: UInt32
    var count: UInt32 = 0
    var entries = InlineArray<15, Entry>(repeating: Entry())
  }

  private var soon = TimerHeap()
  private var far = TimerHeap()
  private var chunks = Pool<Chunk>()
  private let heads: UnsafeMutablePointer<UInt32>
  /// Which slots hold anything, a bit each.
  private let used: UnsafeMutablePointer<UInt64>
  private var waiting = 0
  /// The slot of time up to which everything is in `soon`.
  private var cursor = Int64.min

  /// When something may be due: never later than the earliest deadline, and at most a slot earlier.
  private(set) var next: Int64 = .max

  init() {
    heads = .allocate(capacity: Self.slots)
    heads.initialize(repeating: 0, count: Self.slots)
    used = .allocate(capacity: Self.slots / 64)
    used.initialize(repeating: 0, count: Self.slots / 64)
  }

  deinit {
    heads.deallocate()
    used.deallocate()
  }

  var count: Int { soon.count + waiting + far.count }

  /// What tells one deadline of a connection from another, a millisecond each.
  @inline(__always)
  static func tick(_ time: Int64) -> UInt32 { UInt32(truncatingIfNeeded: time >> 20) }

  @inline(__always)
  static func isBefore(_ a: UInt32, _ b: UInt32) -> Bool { Int32(bitPattern: a &- b) < 0 }

  /// - Parameter now: the present; the first one starts the wheel.
  mutating func push(_ time: Int64, _ number: UInt32, now: Int64) {
    if cursor == .min { cursor = now >> Self.slotShift }
    place(time, number)
    if time < next { next = time }
  }

  private mutating func place(_ time: Int64, _ number: UInt32) {
    let slot = time >> Self.slotShift
    if slot <= cursor {
      soon.push(time, number)
    } else if slot &- cursor < Int64(Self.slots) {
      let position = Int(slot & Int64(Self.slots - 1))
      wait(Entry(time: time, number: number), position)
      used[position >> 6] |= 1 << UInt64(position & 63)
      waiting += 1
    } else {
      far.push(time, number)
    }
  }

  private mutating func wait(_ entry: Entry, _ position: Int) {
    let head = heads[position]
    if head == 0 || chunks[head].pointee.count == 15 {
      heads[position] = chunks.take(Chunk(next: head))
    }
    let chunk = chunks[heads[position]]
    chunk.pointee.entries[Int(chunk.pointee.count)] = entry
    chunk.pointee.count += 1
  }

  /// Takes out the earliest deadline that has come.
  /// - Parameter willFire: gets the numbers whose deadline comes soon, twice, and whether it is the last
  ///   time: what they need may be fetched.
  @inline(__always)
  mutating func pop(
    until now: Int64, willFire: (UInt32, _ isNext: Bool) -> Void
  ) -> (time: Int64, number: UInt32)? {
    while true {
      if soon.next <= now { return soon.pop() }
      let present = now >> Self.slotShift
      guard cursor < present else { break }
      turn(present, willFire)
    }
    noteNext()
    return nil
  }

  /// Goes on to the next slot that holds anything, or to the present one.
  private mutating func turn(_ present: Int64, _ willFire: (UInt32, _ isNext: Bool) -> Void) {
    cursor = min(present, nextUsed(after: cursor) ?? present)
    while far.next >> Self.slotShift &- cursor < Int64(Self.slots), let entry = far.pop() {
      place(entry.time, entry.number)
    }
    let position = Int(cursor & Int64(Self.slots - 1))
    var number = heads[position]
    heads[position] = 0
    used[position >> 6] &= ~(1 << UInt64(position & 63))
    while number != 0 {
      let chunk = chunks[number]
      for place in 0..<Int(chunk.pointee.count) {
        let entry = chunk.pointee.entries[place]
        soon.push(entry.time, entry.number)
      }
      waiting -= Int(chunk.pointee.count)
      let next = chunk.pointee.next
      chunks.giveBack(number)
      number = next
    }
    // What the next slot's will need comes from memory while this one's are looked at.
    guard let slot = nextUsed(after: cursor) else { return }
    visit(slot) { willFire($0, true) }
    if let later = nextUsed(after: slot) { visit(later) { willFire($0, false) } }
  }

  @inline(__always)
  private func visit(_ slot: Int64, _ body: (UInt32) -> Void) {
    var number = heads[Int(slot & Int64(Self.slots - 1))]
    while number != 0 {
      let chunk = chunks[number]
      for place in 0..<Int(chunk.pointee.count) { body(chunk.pointee.entries[place].number) }
      number = chunk.pointee.next
    }
  }

  private mutating func noteNext() {
    if soon.next != .max {
      next = soon.next
    } else if let slot = nextUsed(after: cursor) {
      next = slot << Self.slotShift
    } else {
      next = far.next
    }
  }

  /// The first slot behind one that holds anything.
  private func nextUsed(after slot: Int64) -> Int64? {
    guard waiting > 0 else { return nil }
    let start = Int((slot &+ 1) & Int64(Self.slots - 1))
    var word = start >> 6
    var bits = used[word] & (UInt64.max << UInt64(start & 63))
    for _ in 0...Self.slots / 64 {
      if bits != 0 {
        let position = word << 6 | bits.trailingZeroBitCount
        return slot &+ 1 &+ Int64((position &- start) & (Self.slots - 1))
      }
      word = (word + 1) & (Self.slots / 64 - 1)
      bits = used[word]
    }
    return nil
  }
}
