// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// What people install is one file of at most 20 MB (Sources/upclose/Packaging/build sets this): all but
/// the reader of packets, whose speed counts most, is compiled for size.
let small: [SwiftSetting] =
  Context.environment["UPCLOSE_PACKAGE"] == nil
  ? [] : [.unsafeFlags(["-Osize", "-enforce-exclusivity=unchecked"])]
let fast: Set = ["PacketProbe", "CaptureFile"]

/// A probe looks at the host and yields observations; it never imports another probe.
func probe(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(
    name: name, dependencies: ["Evidence", "LinuxHost", "CLinux"] + dependencies,
    path: "Probes/\(name)",
    swiftSettings: fast.contains(name) ? strict : strict + small)
}

func source(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(
    name: name, dependencies: dependencies, path: "Sources/\(name)",
    swiftSettings: fast.contains(name) ? strict : strict + small)
}

func test(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: [.init(stringLiteral: name)] + dependencies,
    path: "Tests/\(name)Tests", swiftSettings: strict)
}

let package = Package(
  name: "upclose",
  products: [
    .executable(name: "upclose", targets: ["upclose"]),
    .executable(name: "lab-backend", targets: ["lab-backend"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.1.4"),
  ],
  targets: [
    // What looks at the host.
    .systemLibrary(
      name: "CPcap", path: "Probes/CPcap", pkgConfig: "libpcap",
      providers: [.apt(["libpcap-dev"])]),
    .target(name: "CLinux", path: "Probes/CLinux"),
    // What every probe needs of Linux: a thread, a file, an errno's text.
    .target(
      name: "LinuxHost", dependencies: ["CLinux", "Evidence"], path: "Probes/LinuxHost",
      swiftSettings: strict + small),
    probe("PacketProbe", ["CaptureFile", "CPcap"]),
    probe("KernelProbe"),
    probe("TraceProbe"),
    probe("SocketProbe"),
    probe("ProcessProbe"),
    probe("PortProbe"),
    probe("BackendProbe"),
    // Rotated logs and old captures are compressed.
    .systemLibrary(
      name: "CZlib", path: "Probes/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    probe("NginxProbe", ["Gzip", .product(name: "Histogram", package: "hdrhistogram-swift")]),

    // What thinks.
    source("Evidence"),
    source("Gzip", ["CZlib"]),
    source("CaptureFile", ["Gzip"]),
    source("Correlator", ["Evidence"]),
    source("Session", ["CaptureFile", "Evidence"]),
    // The page, style and script of the HTML report become part of the program.
    .target(
      name: "Report", dependencies: ["Correlator", "Evidence"], path: "Sources/Report",
      resources: [
        .embedInCode("Page/page.html"), .embedInCode("Page/style.css"),
        .embedInCode("Page/script.js"), .embedInCode("Schema/report.schema.json"),
      ], swiftSettings: strict + small),
    source(
      "Sweep", ["Evidence", "Report", .product(name: "Histogram", package: "hdrhistogram-swift")]),
    .executableTarget(
      name: "upclose",
      dependencies: [
        "Evidence", "CaptureFile", "Correlator", "Report", "CLinux", "LinuxHost",
        "PacketProbe", "KernelProbe", "TraceProbe", "SocketProbe", "ProcessProbe", "PortProbe",
        "NginxProbe", "BackendProbe", "LabWorld", "Session", "Sweep",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources/upclose", exclude: ["Packaging"], swiftSettings: strict + small),

    // The lab: real nginx, real backends, real faults.
    .target(
      name: "LabWorld", dependencies: ["CLinux", "Evidence", "LinuxHost"], path: "Tests/Lab/World",
      swiftSettings: strict + small),
    .executableTarget(
      name: "lab-backend", dependencies: ["CLinux", "LinuxHost"], path: "Tests/Lab/Backend",
      swiftSettings: strict),
    .executableTarget(
      name: "lab",
      dependencies: [
        "CLinux", "Evidence", "LabWorld", "LinuxHost",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Tests/Lab/Runner", swiftSettings: strict),

    .executableTarget(
      name: "verdict-benchmark", dependencies: ["Correlator", "Evidence"],
      path: "Tests/Benchmarks/verdict", exclude: ["run"], swiftSettings: strict),
    .executableTarget(
      name: "kernel-benchmark",
      dependencies: [
        "Evidence", "LinuxHost", "KernelProbe", "ProcessProbe", "SocketProbe", "TraceProbe",
      ],
      path: "Tests/Benchmarks/kernel", exclude: ["run"], swiftSettings: strict),

    // What the probes' tests share: processes and cgroups of their own, what a probe yielded.
    .target(
      name: "ProbeTesting", dependencies: ["Evidence"], path: "Tests/ProbeTesting",
      swiftSettings: strict),

    test("Evidence"),
    test("LinuxHost", ["Evidence"]),
    test("CaptureFile"),
    test("PacketProbe", ["CaptureFile", "CLinux", "Evidence", "LinuxHost"]),
    test("KernelProbe", ["ProbeTesting", "Evidence"]),
    test("TraceProbe", ["ProbeTesting", "Evidence", "CLinux", "LinuxHost", "lab-backend"]),
    test("SocketProbe", ["ProbeTesting", "Evidence", "CLinux", "LinuxHost"]),
    test("ProcessProbe", ["ProbeTesting", "Evidence", "CLinux", "LinuxHost"]),
    test("BackendProbe", ["ProbeTesting", "CLinux", "Evidence", "LinuxHost"]),
    test("PortProbe", ["Evidence", "CLinux", "LinuxHost"]),
    test("NginxProbe", ["Correlator", "Evidence", "CLinux", "LinuxHost"]),
    test("Correlator", ["Evidence"]),
    test("Session", ["CaptureFile", "Evidence"]),
    test("Sweep", ["Evidence"]),
    test("Report", ["Correlator", "Evidence"]),
    .testTarget(
      name: "UpcloseTests",
      dependencies: ["upclose", "lab-backend", "LabWorld", "Evidence", "CLinux", "LinuxHost"],
      path: "Tests/UpcloseTests", swiftSettings: strict),
    test("LabWorld", ["Evidence", "LinuxHost", "lab-backend"]),
  ]
)

// Only the benchmarks need these: Tests/Benchmarks/logs/run sets it.
if Context.environment["UPCLOSE_BENCHMARKS"] != nil {
  package.targets.append(
    .executableTarget(
      name: "log-reader", dependencies: ["Evidence", "NginxProbe"], path: "Tests/Benchmarks/logs",
      exclude: ["run", "generate.py"], swiftSettings: strict))
}
