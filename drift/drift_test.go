package drift

import (
	"testing"

	"github.com/slowburn/slowburn/slo"
)

func TestShareCountsOnlyWhatWasCompared(t *testing.T) {
	var r Report
	for _, v := range []Verdict{Unchecked, Same, Same, Differs, Missing, Orphan, NotRepresentable} {
		r = Join(r, Report{Facts: []Fact{{Subject: v.String(), Verdict: v}}})
	}
	if drifting, compared := r.Share(); drifting != 3 || compared != 5 {
		t.Errorf("%d of %d drift, want 3 of 5", drifting, compared)
	}
}

func TestFindingStandsAtTheDeployedPlace(t *testing.T) {
	code, there := slo.Position{File: "api.ts", Line: 12}, slo.Position{File: "prometheus.yml", Line: 3}
	f := Fact{
		Subject: "target", Service: "api", SLO: "availability", Verdict: Differs, Want: "99.5 %", Got: "99.9 %",
		Code: code, There: there, Rule: "SB070",
	}
	got := f.Finding()
	if want := "api/availability: target is 99.9 % there, the contract says 99.5 %"; got.Message != want {
		t.Errorf("message %q, want %q", got.Message, want)
	}
	if got.Pos != there || len(got.Related) != 1 || got.Related[0] != code {
		t.Errorf("at %v, related %v", got.Pos, got.Related)
	}
	f.There = slo.Position{}
	if got := f.Finding(); got.Pos != code || got.Related != nil {
		t.Errorf("without a deployed place: at %v, related %v", got.Pos, got.Related)
	}
	if got := (Report{Facts: []Fact{f, {Verdict: Same, Rule: "SB070"}}}).AllFindings(); len(got) != 1 {
		t.Errorf("%d findings, want 1", len(got))
	}
}
