import Evidence
import PortProbe
import Sweep

/// The targets of a sweep, each in a place of its own that stays the same while it is a target, with
/// what is known of it.
struct TargetBook {
  private var places: [SweepTarget?] = []
  /// Empty when none are kept: a place for each is room enough for the rest ten times over.
  private var histories: [TargetHistory?] = []
  private var isOpen: [Bool] = []
  private var placeOf: [Endpoint: Int] = [:]
  private var vacant: [Int] = []
  private let keepsHistories: Bool
  /// Of targets that are gone.
  private var goneWithOutage = false
  /// More targets than this share their connect times.
  private static let mostWithTimes = 10_000

  init(keepsHistories: Bool) { self.keepsHistories = keepsHistories }

  var count: Int { placeOf.count }
  /// In order of their places.
  var indices: [Int] { places.indices.filter { places[$0] != nil } }

  subscript(index: Int) -> SweepTarget {
    places[index] ?? SweepTarget(endpoint: Endpoint(address: IPAddress(v4: 0), port: 0))
  }

  func holds(_ index: Int, _ endpoint: Endpoint) -> Bool {
    index < places.count && places[index]?.endpoint == endpoint
  }

  func wasOpen(_ index: Int) -> Bool { isOpen[index] }

  func history(_ index: Int) -> TargetHistory? { keepsHistories ? histories[index] : nil }

  /// Takes new targets in and old ones out; those that stay keep their history.
  mutating func replace(
    with targets: [SweepTarget]
  ) -> (new: [SweepTarget], gone: [SweepTarget]) {
    let wanted = Set(targets.map(\.endpoint))
    var gone: [SweepTarget] = []
    for (endpoint, place) in placeOf where !wanted.contains(endpoint) {
      gone.append(self[place])
      if (history(place)?.outages ?? 0) > 0 { goneWithOutage = true }
      places[place] = nil
      if keepsHistories { histories[place] = nil }
      placeOf[endpoint] = nil
      vacant.append(place)
    }
    var new: [SweepTarget] = []
    for target in targets where placeOf[target.endpoint] == nil {
      new.append(target)
      let history =
        keepsHistories ? TargetHistory(keepsTimes: targets.count <= Self.mostWithTimes) : nil
      if let place = vacant.popLast() {
        places[place] = target
        if keepsHistories { histories[place] = history }
        isOpen[place] = false
        placeOf[target.endpoint] = place
      } else {
        placeOf[target.endpoint] = places.count
        places.append(target)
        if keepsHistories { histories.append(history) }
        isOpen.append(false)
      }
    }
    return (new, gone.sorted { $0.endpoint < $1.endpoint })
  }

  mutating func observe(
    _ index: Int, _ check: PortCheck, isGood: Bool, at time: Timestamp,
    _ hysteresis: TargetHistory.Hysteresis
  ) -> TargetHistory.Change? {
    isOpen[index] = check.outcome == .open
    guard keepsHistories else { return nil }
    return histories[index]?.observe(check, isGood: isGood, at: time, hysteresis)
  }

  /// Whether any target is down, or was, or failed its last check.
  var anyOutage: Bool {
    goneWithOutage
      || histories.contains { history in
        guard let history else { return false }
        return history.outages > 0 || history.isLastGood == false
      }
  }

  var series: [PrometheusText.Series] {
    indices.compactMap { index in
      histories[index].map {
        PrometheusText.Series(
          target: "\(self[index].endpoint)", name: self[index].name, history: $0)
      }
    }
  }
}
