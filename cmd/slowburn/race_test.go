//go:build race

package main

// raceBuild tells that the binary under test carries the race detector, and costs many times what the real one does.
const raceBuild = true
