import Glibc

func log10(_ x: Double) -> Double { Glibc.log10(x) }

/// The likelihood ratio of so many decibans.
func ratio(decibans: Double) -> Double { Glibc.pow(10, decibans / 10) }
