package tsdb

func finishImports(string) error { return nil }
