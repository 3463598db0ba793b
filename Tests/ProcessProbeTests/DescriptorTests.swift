import Evidence
import Glibc
import LinuxHost
import ProbeTesting
import Testing

@testable import ProcessProbe

@Suite struct DescriptorTests {
  private func use(_ used: UInt64) -> DescriptorUse {
    DescriptorUse(process: ProcessIdentity(pid: 7, command: "nginx"), used: used, limit: 100)
  }

  @Test func `use is told while it grows above half, and when it has fallen`() {
    #expect(!DescriptorBooks.isNews(use(50), after: nil))
    #expect(DescriptorBooks.isNews(use(51), after: nil))
    #expect(DescriptorBooks.isNews(use(52), after: use(51)))
    #expect(!DescriptorBooks.isNews(use(51), after: use(52)))
    #expect(DescriptorBooks.isNews(use(10), after: use(52)))
    #expect(!DescriptorBooks.isNews(use(11), after: use(10)))
    #expect(DescriptorBooks.isNews(use(60), after: use(10)))
  }

  @Test func `this very process's descriptors are counted`() throws {
    let table = ProcTable()
    let before = try #require(table.descriptorCount(of: getpid()))
    let opened = (0..<50).map { _ in open("/dev/null", O_RDONLY | O_CLOEXEC) }
    defer { for descriptor in opened { close(descriptor) } }
    // Other tests open and close theirs meanwhile.
    #expect(try #require(table.descriptorCount(of: getpid())) + 20 > before + 50)
    #expect(table.descriptorCount(of: 2_147_483_646) == nil)
  }

  @Test func `a process near its limit is told`() throws {
    let listener = try #require(Listener())
    // The standard three and the listener are more than half of seven.
    let child = try #require(
      Child(shell: "ulimit -n 7; sleep 60", inheriting: [listener.descriptor]))
    let probe = ProcessProbe(host: "web1")
    let collector = Collector()
    try probe.open()
    probe.find(inodes: [listener.inode])
    try probe.start(collector.sink)
    defer { probe.stop() }
    #expect(
      collector.wait {
        $0.all.contains {
          if case .descriptors(let use) = $0.fact {
            use.process.pid == child.pid && use.limit == 7 && use.used > 3
          } else {
            false
          }
        }
      })
  }
}
