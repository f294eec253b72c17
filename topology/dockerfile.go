package topology

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// stage is one FROM of a Dockerfile.
type stage struct {
	image string // as written, variables expanded
	name  string // AS name, in lower case
	line  int
	ports []Port // of EXPOSE
	err   error  // why the image can't be told
}

// instruction is one logical line of a Dockerfile: comments and continuations are gone.
type instruction struct {
	keyword string // in upper case
	rest    string
	line    int
}

// lineError is a fault at a line of a Dockerfile.
type lineError struct {
	line    int
	message string
}

func (e lineError) Error() string { return e.message }

// parseDockerfile reads the stages of a Dockerfile. Of the instructions only FROM and the ARGs before the
// first FROM matter to it; args are the build arguments, which win over defaults.
func parseDockerfile(text string, args map[string]string) ([]stage, error) {
	list, err := instructions(text)
	if err != nil {
		return nil, err
	}
	known := map[string]string{}
	var stages []stage
	for _, in := range list {
		switch {
		case in.keyword == "FROM":
			st, err := from(in, known)
			if err != nil {
				return nil, err
			}
			stages = append(stages, st)
		case in.keyword == "ARG" && len(stages) == 0:
			globalArgs(in.rest, args, known)
		case in.keyword == "EXPOSE" && len(stages) > 0:
			last := &stages[len(stages)-1]
			last.ports = append(last.ports, exposed(strings.Fields(in.rest))...)
		case len(stages) == 0:
			return nil, lineError{in.line, in.keyword + " stands before FROM"}
		}
	}
	if len(stages) == 0 {
		return nil, lineError{0, "no FROM"}
	}
	return stages, nil
}

// globalArgs reads ARG NAME[=default] ... into known.
func globalArgs(rest string, args, known map[string]string) {
	for _, word := range words(rest) {
		name, value, hasDefault := strings.Cut(word, "=")
		if given, ok := args[name]; ok {
			known[name] = given
		} else if expanded, err := expandArgs(unquote(value), known); hasDefault && err == nil {
			known[name] = expanded
		}
	}
}

// from reads FROM [--flag=value] image [AS name].
func from(in instruction, known map[string]string) (stage, error) {
	fields := strings.Fields(in.rest)
	for len(fields) > 0 && strings.HasPrefix(fields[0], "--") {
		fields = fields[1:]
	}
	st := stage{line: in.line}
	switch {
	case len(fields) == 3 && strings.EqualFold(fields[1], "AS"):
		st.name = strings.ToLower(fields[2])
	case len(fields) != 1:
		return stage{}, lineError{in.line, "FROM takes an image and at most AS with a name"}
	}
	st.image, st.err = expandArgs(unquote(fields[0]), known)
	if st.err == nil && st.image == "" {
		st.err = fmt.Errorf("%s is empty", quote(fields[0]))
	}
	return st, nil
}

// origin is what a built image starts from, and the ports its stages expose.
type origin struct {
	image string
	line  int // of the FROM that names it
	ports []Port
}

// base follows a build target's FROM through earlier stages to an image that is not one of them. named are
// the additional build contexts: they win over stages and images of their name.
func base(stages []stage, target string, named map[string]string) (o origin, err error) {
	i, err := targetStage(stages, target)
	if err != nil {
		return o, err
	}
	for {
		st := stages[i]
		o.line, o.ports = st.line, append(o.ports, st.ports...)
		if st.err != nil {
			return o, lineError{st.line, st.err.Error()}
		}
		if image, ok := strings.CutPrefix(named[st.image], "docker-image://"); ok {
			o.image = image
			return o, nil
		}
		earlier := stageNamed(stages[:i], st.image)
		if earlier < 0 {
			o.image = st.image
			return o, nil
		}
		i = earlier // always less, so that this ends
	}
}

func targetStage(stages []stage, target string) (int, error) {
	if target == "" {
		return len(stages) - 1, nil
	}
	if i := stageNamed(stages, target); i >= 0 {
		return i, nil
	}
	if i, err := strconv.Atoi(target); err == nil && i >= 0 && i < len(stages) {
		return i, nil
	}
	return 0, fmt.Errorf("no stage %s", quote(target))
}

// stageNamed finds the last stage of that name, or -1.
func stageNamed(stages []stage, name string) int {
	for i, st := range slices.Backward(stages) {
		if st.name != "" && strings.EqualFold(st.name, name) {
			return i
		}
	}
	return -1
}

var (
	directive = regexp.MustCompile(`^#\s*([A-Za-z]+)\s*=\s*(\S+)\s*$`)
	heredoc   = regexp.MustCompile(`^\d*<<(-?)(?:"([A-Za-z0-9_.-]+)"|'([A-Za-z0-9_.-]+)'|([A-Za-z0-9_.-]+))$`)
)

// instructions splits a Dockerfile into its logical lines.
func instructions(text string) ([]instruction, error) {
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	escape := escapeOf(lines)
	var list []instruction
	for i := 0; i < len(lines); i++ {
		start, logical := i, ""
		for ; i < len(lines); i++ {
			piece, more := continued(lines[i], escape)
			if comment(lines[i]) || logical != "" && strings.TrimSpace(lines[i]) == "" {
				if logical == "" {
					break
				}
				continue // comments and, as the builder still allows, empty lines don't end an instruction
			}
			logical += piece
			if !more {
				break
			}
		}
		keyword, rest := cutBlank(strings.TrimSpace(logical))
		if keyword == "" {
			continue
		}
		in := instruction{strings.ToUpper(keyword), rest, start + 1}
		list = append(list, in)
		end, err := skipHeredocs(lines, i, in)
		if err != nil {
			return nil, err
		}
		i = end
	}
	return list, nil
}

func cutBlank(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

func comment(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#") }

// continued cuts the escape character off the end of a line that goes on.
func continued(line, escape string) (string, bool) {
	trimmed := strings.TrimRight(line, " \t\r")
	if piece, ok := strings.CutSuffix(trimmed, escape); ok {
		return piece, true
	}
	return trimmed, false
}

// escapeOf reads the parser directives at the top: # escape=` makes the backtick the escape character.
func escapeOf(lines []string) string {
	for _, line := range lines {
		m := directive.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			break
		}
		if strings.EqualFold(m[1], "escape") && m[2] == "`" {
			return "`"
		}
	}
	return `\`
}

// skipHeredocs returns the index of the last line that belongs to the instruction's here-documents.
func skipHeredocs(lines []string, at int, in instruction) (int, error) {
	keyword, rest := in.keyword, in.rest
	if keyword == "ONBUILD" {
		keyword, rest = cutBlank(rest)
	}
	switch strings.ToUpper(keyword) {
	case "RUN", "COPY", "ADD":
	default:
		return at, nil
	}
	for _, word := range strings.Fields(rest) {
		m := heredoc.FindStringSubmatch(word)
		if m == nil {
			continue
		}
		end := m[2] + m[3] + m[4]
		for at++; ; at++ {
			if at >= len(lines) {
				return 0, lineError{in.line, "here-document " + quote(end) + " does not end"}
			}
			line := strings.TrimRight(lines[at], "\r")
			if line == end || m[1] == "-" && strings.TrimLeft(line, "\t") == end {
				break
			}
		}
	}
	return at, nil
}

// words splits at blanks outside quotes.
func words(s string) (list []string) {
	var b strings.Builder
	quoteMark := rune(0)
	for _, r := range s {
		switch {
		case quoteMark == 0 && (r == ' ' || r == '\t'):
			if b.Len() > 0 {
				list = append(list, b.String())
				b.Reset()
			}
			continue
		case quoteMark == r:
			quoteMark = 0
		case quoteMark == 0 && (r == '"' || r == '\''):
			quoteMark = r
		}
		b.WriteRune(r)
	}
	if b.Len() > 0 {
		list = append(list, b.String())
	}
	return list
}

func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

// maxReference bounds an image reference; arguments that double each other grow past it in a few lines.
const maxReference = 4096

var errReference = errors.New("image name is longer than 4096 bytes")

// expandArgs replaces $NAME, ${NAME}, ${NAME:-default} and ${NAME:+alternative} as the builder does.
func expandArgs(s string, known map[string]string) (string, error) {
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 || i == len(s)-1 {
			b.WriteString(s)
			break
		}
		b.WriteString(s[:i])
		value, used, err := hole(s[i+1:], known)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		if b.Len() > maxReference {
			return "", errReference
		}
		s = s[i+1+used:]
	}
	if b.Len() > maxReference {
		return "", errReference
	}
	return b.String(), nil
}

// hole reads what follows a dollar sign, and says how much of it that was.
func hole(s string, known map[string]string) (string, int, error) {
	if s[0] != '{' {
		n := nameLength(s)
		if n == 0 {
			return "$", 0, nil
		}
		value, ok := known[s[:n]]
		return value, n, undefined(s[:n], ok)
	}
	end := closing(s)
	if end < 0 {
		return "", 0, errors.New("${ without }")
	}
	inner := s[1:end]
	n := nameLength(inner)
	value, ok := known[inner[:n]]
	switch rest := inner[n:]; {
	case n == 0:
		return "", 0, fmt.Errorf("%s is not a variable", quote("${"+inner+"}"))
	case rest == "":
		return value, end + 1, undefined(inner[:n], ok)
	default:
		operator, word := cutOperator(rest)
		value, err := choose(operator, word, value, ok, known)
		return value, end + 1, err
	}
}

func cutOperator(s string) (operator, word string) {
	if s[0] == ':' && len(s) > 1 {
		return s[:2], s[2:]
	}
	return s[:1], s[1:]
}

func choose(operator, word, value string, ok bool, known map[string]string) (string, error) {
	filled := ok && (value != "" || !strings.HasPrefix(operator, ":"))
	switch operator {
	case ":-", "-":
		if filled {
			return value, nil
		}
	case ":+", "+":
		if !filled {
			return "", nil
		}
	default:
		return "", fmt.Errorf("operator %s is not one of :- and :+", quote(operator))
	}
	if strings.Count(word, "$") > maxHoles {
		return "", errReference
	}
	return expandArgs(word, known)
}

func undefined(name string, ok bool) error {
	if ok {
		return nil
	}
	return fmt.Errorf("ARG %s has no value", name)
}

func nameLength(s string) int {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9' || i == 0) {
			return i
		}
	}
	return len(s)
}

// closing finds the brace that closes the one s begins with.
func closing(s string) int {
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}
