package tsgo

import (
	_ "github.com/microsoft/typescript-go/internal/ast"
	_ "github.com/microsoft/typescript-go/internal/binder"
	_ "github.com/microsoft/typescript-go/internal/core"
	_ "github.com/microsoft/typescript-go/internal/parser"
	_ "github.com/microsoft/typescript-go/internal/scanner"
)
