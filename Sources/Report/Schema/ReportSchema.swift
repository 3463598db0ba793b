/// The JSON Schema (draft 2020-12) of the JSON report: a file of the repository, embedded in the
/// program when it is built.
public enum ReportSchema {
  /// Its text. A line of NDJSON is its `#/$defs/incident`.
  public static var text: String {
    String(decoding: PackageResources.report_schema_json, as: UTF8.self)
  }
}
