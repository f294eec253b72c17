package contract

import (
	"regexp"
	"strings"

	tsgo "github.com/microsoft/typescript-go/slowburn"
)

// spell is the text of an expression without casts, comments and needless blanks.
func spell(p place) string {
	n := p.node
	inner := func(n *tsgo.Node) string { return spell(p.with(n)) }
	switch n.Kind {
	case tsgo.KindAsExpression, tsgo.KindSatisfiesExpression, tsgo.KindTypeAssertionExpression, tsgo.KindNonNullExpression:
		return inner(n.Expression())
	case tsgo.KindParenthesizedExpression:
		s := inner(n.Expression())
		if simple(unwrap(n).Kind) {
			return s
		}
		return "(" + s + ")"
	case tsgo.KindPropertyAccessExpression:
		return inner(n.Expression()) + dot(n) + n.Name().Text()
	case tsgo.KindElementAccessExpression:
		open := "["
		if dot(n) == "?." {
			open = "?.["
		}
		return inner(n.Expression()) + open + inner(n.AsElementAccessExpression().ArgumentExpression) + "]"
	case tsgo.KindCallExpression:
		open := "("
		if dot(n) == "?." {
			open = "?.("
		}
		return inner(n.Expression()) + open + spellAll(p, n.Arguments()) + ")"
	case tsgo.KindAwaitExpression:
		return "await " + inner(n.Expression())
	case tsgo.KindConditionalExpression:
		c := n.AsConditionalExpression()
		return inner(c.Condition) + " ? " + inner(c.WhenTrue) + " : " + inner(c.WhenFalse)
	case tsgo.KindBinaryExpression:
		b := n.AsBinaryExpression()
		return inner(b.Left) + " " + inner(b.OperatorToken) + " " + inner(b.Right)
	}
	return squeeze(p.src.text[tsgo.Start(p.src.file, n):n.End()])
}

func spellAll(p place, nodes []*tsgo.Node) string {
	var all []string
	for _, n := range nodes {
		all = append(all, spell(p.with(n)))
	}
	return strings.Join(all, ", ")
}

func dot(n *tsgo.Node) string {
	if n.QuestionDotToken() != nil {
		return "?."
	}
	return "."
}

func simple(k tsgo.Kind) bool {
	switch k {
	case tsgo.KindIdentifier, tsgo.KindPropertyAccessExpression, tsgo.KindElementAccessExpression, tsgo.KindCallExpression, tsgo.KindThisKeyword:
		return true
	}
	return false
}

// blankOrString matches stretches of blanks and comments, which squeeze takes out, and strings, which it must
// not look into.
var blankOrString = regexp.MustCompile("(?s)(?:/\\*.*?\\*/|//[^\\r\\n]*|[ \\t\\r\\n]+)+|'(?:[^'\\\\]|\\\\.)*'|\"(?:[^\"\\\\]|\\\\.)*\"|`(?:[^`\\\\]|\\\\.)*`")

func squeeze(text string) string {
	text = blankOrString.ReplaceAllStringFunc(text, func(s string) string {
		if strings.ContainsAny(s[:1], "'\"`") {
			return s
		}
		return " "
	})
	return strings.TrimSpace(text)
}
