import Testing

@testable import KernelProbe

@Suite struct KmsgRecordTests {
  @Test func `a record's fields are read`() {
    let record = KmsgRecord(line: Array("6,1064,4681787637,-;sh[21396]: segfault at 0".utf8)[...])
    #expect(
      record
        == KmsgRecord(
          level: 6, facility: 0, sequence: 1064, microseconds: 4_681_787_637, isFragment: false,
          text: Array("sh[21396]: segfault at 0".utf8)))
  }

  @Test func `what a program wrote carries its facility`() {
    let record = KmsgRecord(line: Array("12,5,7,-;Killed process 1 (init)".utf8)[...])
    #expect(record?.facility == 1)
    #expect(record?.level == 4)
  }

  @Test func `the kernel's escapes are undone`() {
    let record = KmsgRecord(line: Array("6,1,2,-;a\\x0ab\\x5cc\\xc3\\xa9\\xZZ".utf8)[...])
    #expect(record?.text == Array("a\nb\\cé\\xZZ".utf8))
  }

  @Test func `fields that later kernels add are passed over`() {
    let record = KmsgRecord(line: Array("6,1,2,c,caller=T7366;x".utf8)[...])
    #expect(record?.isFragment == true)
    #expect(record?.text == Array("x".utf8))
  }

  @Test func `dictionary lines belong to the record before them`() {
    let bytes = Array("6,1,2,-;one\n SUBSYSTEM=net\n DEVICE=n3\n6,2,3,-;two\nbroken\n".utf8)
    let (records, malformed) = KmsgRecord.records(in: bytes[...])
    #expect(records.map(\.sequence) == [1, 2])
    #expect(malformed == 1)
  }

  @Test(arguments: [
    "", ";", ",,,;", "6,1;x", "x,1,2,-;y", "6,99999999999999999999,2,-;y", "6,1,-2,-;y",
  ])
  func `what is no record is refused`(_ line: String) {
    #expect(KmsgRecord(line: Array(line.utf8)[...]) == nil)
  }
}
