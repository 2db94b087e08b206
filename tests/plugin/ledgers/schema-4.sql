PRAGMA user_version=4;
BEGIN TRANSACTION;
CREATE TABLE audits(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, head TEXT NOT NULL,
  seed INTEGER NOT NULL, state TEXT NOT NULL, owner TEXT NOT NULL,
  started REAL NOT NULL, finished REAL, value REAL, tokens_per_step REAL,
  first_loss REAL, trained INTEGER NOT NULL DEFAULT 1);
CREATE TABLE candidates(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, kind TEXT NOT NULL,
  title TEXT NOT NULL, hypothesis TEXT NOT NULL, category TEXT NOT NULL,
  edits TEXT NOT NULL, signature TEXT NOT NULL, proposer TEXT, file TEXT, test TEXT,
  nodeid TEXT, head TEXT, source_key TEXT, diff TEXT, added_lines INTEGER,
  ratio REAL, step_tokens REAL, state TEXT NOT NULL,
  reason TEXT NOT NULL DEFAULT '', commit_id TEXT,
  created REAL NOT NULL, started REAL, decided REAL, changes TEXT, retests INTEGER, repairs INTEGER, agent TEXT, turn TEXT);
INSERT INTO "candidates" VALUES(1,1,'generated','Lower LR','Lower LR helps.','other','[{"op": "set", "knob": "LR", "value": 0.02}]','41f83db50f41e699','scripted','experiments/test_0001_lower_lr.py','"""Lower LR: Lower LR helps."""


def test_lower_lr(train_module, gpu_budget, baseline):
    train_module.set(''LR'', 0.02)
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
','experiments/_generated/test_0001_lower_lr.py::test_lower_lr','14e4a80316c3','5540a84977e33af9b71d79f5bcfb7a0925c2edb6900459a5924ac8f74b7fee28','--- a/train.py
+++ b/train.py
@@ -1,6 +1,6 @@
 """The smallest training module: a bowl with knobs."""
 
-LR = 0.1  # step size; range 0.001..1 log
+LR = 0.02  # step size; range 0.001..1 log
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
',0,NULL,NULL,'keep','keep: 2.12015 vs 2.14438 ± 0.00018 after 3 paired runs','532f081398e39b8bd610f803df9eed5dd702523b',1.79566428855034279825e+09,1.79566428942133188249e+09,1.79566429337590718266e+09,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "candidates" VALUES(2,1,'generated','Harm','Harm helps.','other','[{"op": "set", "knob": "LR", "value": 0.9}]','83f2af91a8e07996','scripted','experiments/test_0002_harm.py','"""Harm: Harm helps."""


def test_harm(train_module, gpu_budget, baseline):
    train_module.set(''LR'', 0.9)
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
','experiments/_generated/test_0002_harm.py::test_harm','327b30f7342b','929556ef9c3504d8c2fea29ae976b9a3c123e66025c7e1a64f15c139c514003b','--- a/train.py
+++ b/train.py
@@ -1,6 +1,6 @@
 """The smallest training module: a bowl with knobs."""
 
-LR = 0.02  # step size; range 0.001..1 log
+LR = 0.9  # step size; range 0.001..1 log
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
',0,NULL,NULL,'discard','discard: 2.25652 vs 2.11993 ± 0.00018 after 1 paired run',NULL,1.79566428863620400433e+09,1.79566429466283035282e+09,1.79566429564908576011e+09,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "candidates" VALUES(3,1,'generated','Crash','Crash helps.','other','[{"op": "set", "knob": "MISBEHAVE", "value": "crash"}]','e56acf81d1b0b510','scripted','experiments/test_0003_crash.py','"""Crash: Crash helps."""


def test_crash(train_module, gpu_budget, baseline):
    train_module.set(''MISBEHAVE'', ''crash'')
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
','experiments/_generated/test_0003_crash.py::test_crash','327b30f7342b','c025306f76ec35b454189671d1d25086b1d9ab7f3aa468ab38ceeee407b4044b','--- a/train.py
+++ b/train.py
@@ -4,7 +4,7 @@
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
-MISBEHAVE = ""  # what goes wrong, or nothing
+MISBEHAVE = ''crash''  # what goes wrong, or nothing
 
 
 def build_model(config):
',0,NULL,NULL,'crash','error: ValueError: broken on purpose',NULL,1.79566428953702783588e+09,1.79566429751002931596e+09,1.7956642982115221023e+09,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE events(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, created REAL NOT NULL,
  kind TEXT NOT NULL, text TEXT NOT NULL, agent TEXT);
INSERT INTO "events" VALUES(1,1,1.79566428859489297864e+09,'proposed','#001 Lower LR',NULL);
INSERT INTO "events" VALUES(2,1,1.79566428870469212532e+09,'proposed','#002 Harm',NULL);
INSERT INTO "events" VALUES(3,1,1.79566428933671426776e+09,'progress','main  baseline 08aae5f, run 1: score 2.1443, 1 s',NULL);
INSERT INTO "events" VALUES(4,1,1.795664289576691389e+09,'proposed','#003 Crash',NULL);
INSERT INTO "events" VALUES(5,1,1.79566429035779857631e+09,'progress','main  #001 run 1 of at most 8: score 2.1202, 1 s; undecided: 2.12018 vs 2.14431 ± 0.00018 after 1 paired run',NULL);
INSERT INTO "events" VALUES(6,1,1.79566429110880851748e+09,'progress','main  baseline 08aae5f, run 2: score 2.1451, 1 s',NULL);
INSERT INTO "events" VALUES(7,1,1795664291.82875,'progress','main  baseline 08aae5f, run 3: score 2.1438, 1 s',NULL);
INSERT INTO "events" VALUES(8,1,1.79566429259871411321e+09,'progress','main  #001 run 2 of at most 8: score 2.1206, 1 s; undecided: 2.12041 vs 2.14469 ± 0.00019 after 2 paired runs',NULL);
INSERT INTO "events" VALUES(9,1,1.79566429329078030589e+09,'progress','main  #001 run 3 of at most 8: score 2.1196, 1 s; keep: 2.12015 vs 2.14438 ± 0.00018 after 3 paired runs',NULL);
INSERT INTO "events" VALUES(10,1,1.79566429337647557261e+09,'progress','main  #001 Lower LR: keep: 2.12015 vs 2.14438 ± 0.00018 after 3 paired runs',NULL);
INSERT INTO "events" VALUES(11,1,1.79566429458470439906e+09,'progress','main  baseline 532f081, run 1: score 2.1199, 1 s',NULL);
INSERT INTO "events" VALUES(12,1,1.79566429475411343578e+09,'proposer','p.jsonl has no more proposals.',NULL);
INSERT INTO "events" VALUES(13,1,1.79566429563005757331e+09,'progress','main  #002 run 1 of at most 8: score 2.2565, 1 s; discard: 2.25652 vs 2.11993 ± 0.00018 after 1 paired run',NULL);
INSERT INTO "events" VALUES(14,1,1.79566429566872954367e+09,'progress','main  #002 Harm: discard: 2.25652 vs 2.11993 ± 0.00018 after 1 paired run',NULL);
INSERT INTO "events" VALUES(15,1,1.79566429672468137745e+09,'progress','main  baseline 532f081, run 2: score 2.1194, 1 s',NULL);
INSERT INTO "events" VALUES(16,1,1.79566429741170310971e+09,'progress','main  baseline 532f081, run 3: score 2.1209, 1 s',NULL);
INSERT INTO "events" VALUES(17,1,1.79566429822866082191e+09,'progress','main  #003 Crash: error: ValueError: broken on purpose',NULL);
CREATE TABLE fingerprints(id TEXT PRIMARY KEY, parts TEXT NOT NULL, created REAL);
INSERT INTO "fingerprints" VALUES('5971b2bab445','{"core": "470c2701dc17e41612476618dd063718a58658240738e05efb527d436a4c8418", "corpus": "none", "noise": 0.0005, "profile": "auto", "metric": "score", "direction": "min", "budget": ["steps", 10], "command": "{python} /project/tests/plugin/toy_command.py --noise 0.0005 --no-evaluate", "device_model": "AMD EPYC"}',1.7956642882611660957e+09);
CREATE TABLE heads(
  id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, source_sha256 TEXT NOT NULL,
  source TEXT NOT NULL, commit_id TEXT, amount REAL, inherits INTEGER,
  created REAL NOT NULL);
INSERT INTO "heads" VALUES('14e4a80316c3','5971b2bab445','f5fcb949f524191f8a41d7746546dafc229710ae1cfd85bee03d4eb2adf070d7','"""The smallest training module: a bowl with knobs."""

LR = 0.1  # step size; range 0.001..1 log
WIDTH = 4  # units; range 1..16
DECAY = False  # lower the step size; choices True, False
STEP_COST = 1.0  # CPU time of a step, about 2 ms each
MISBEHAVE = ""  # what goes wrong, or nothing


def build_model(config):
    """The model is its knobs."""
    return {"LR": LR, "WIDTH": WIDTH, "DECAY": DECAY}


def train(run):
    """Pretend."""
    model = build_model(run.config)
    for step in run.batches():
        run.work(STEP_COST)
        run.report(step, model)
    run.save(model)
','08aae5fb3ee39056ead4a06aa79db962acb41c3b',NULL,NULL,1.79566428826973986622e+09);
INSERT INTO "heads" VALUES('327b30f7342b','5971b2bab445','453d860570be55c9aa4f15eeb6a437e569a607af34a583dbc226261c856d6df3','"""The smallest training module: a bowl with knobs."""

LR = 0.02  # step size; range 0.001..1 log
WIDTH = 4  # units; range 1..16
DECAY = False  # lower the step size; choices True, False
STEP_COST = 1.0  # CPU time of a step, about 2 ms each
MISBEHAVE = ""  # what goes wrong, or nothing


def build_model(config):
    """The model is its knobs."""
    return {"LR": LR, "WIDTH": WIDTH, "DECAY": DECAY}


def train(run):
    """Pretend."""
    model = build_model(run.config)
    for step in run.batches():
        run.work(STEP_COST)
        run.report(step, model)
    run.save(model)
','532f081398e39b8bd610f803df9eed5dd702523b',NULL,NULL,1.79566429364992713926e+09);
CREATE TABLE lanes(
  session INTEGER NOT NULL, name TEXT NOT NULL, device TEXT, status TEXT, since REAL,
  PRIMARY KEY(session, name));
INSERT INTO "lanes" VALUES(1,'main','cpu:0','null',1.79566429817758679387e+09);
CREATE TABLE leases(name TEXT PRIMARY KEY, owner TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE llm_calls(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, proposer TEXT, model TEXT,
  input_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER,
  output_tokens INTEGER, usd REAL NOT NULL, seconds REAL, status TEXT, created REAL, agent TEXT, answer TEXT);
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "meta" VALUES('salt','9558137694bab454');
CREATE TABLE reservations(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, usd REAL NOT NULL, agent TEXT);
CREATE TABLE sessions(
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, tag TEXT, settings TEXT NOT NULL,
  profile TEXT, fingerprint TEXT, head TEXT, head_commit TEXT, first_head TEXT,
  state TEXT NOT NULL,
  reason TEXT, proposing TEXT NOT NULL DEFAULT 'no', owner TEXT NOT NULL,
  started REAL NOT NULL, finished REAL, previous_seconds REAL NOT NULL DEFAULT 0, asking TEXT);
INSERT INTO "sessions" VALUES(1,'research','main','{"budget": null, "command": "{python} /project/tests/plugin/toy_command.py --noise 0.0005 --no-evaluate", "devices": "cpu:0", "diff": null, "direction": null, "experiments": null, "gpu_hours": null, "hours": null, "max_runs": 8, "max_usd": 10.0, "metric": null, "model": null, "price": null, "profile": "auto", "proposer": "scripted:p.jsonl", "require_keep": false, "rule": "default", "tag": null, "target": "train.py"}','{"name": "auto", "metric": "score", "direction": "min", "budget": {"unit": "steps", "amount": 10}, "evaluates": false, "isolates": false, "interim": false, "hidden": true, "charged": false, "limits": {"start": 30.0, "prepare": 30.0, "warmup": 30.0, "train": 30.0, "save": 30.0, "evaluate": 30.0}, "noise_unpaired": 0.00025, "noise_paired": 8.333333333333333e-05, "noise_df": 4.0, "fingerprint": {"core": "470c2701dc17e41612476618dd063718a58658240738e05efb527d436a4c8418", "corpus": "none", "noise": 0.0005}, "lines": ["toy command: nothing is trained"], "sandbox": 4}','5971b2bab445','327b30f7342b','532f081398e39b8bd610f803df9eed5dd702523b','14e4a80316c3','finished','nothing more to try','no','12886:100388',1.79566428823906922345e+09,1.79566429836174702638e+09,0.0,NULL);
CREATE TABLE trials(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, head TEXT NOT NULL,
  candidate INTEGER, seed_index INTEGER NOT NULL, seed INTEGER NOT NULL,
  state TEXT NOT NULL, owner TEXT NOT NULL, device TEXT, budget TEXT,
  started REAL NOT NULL, finished REAL, outcome TEXT, message TEXT, value REAL,
  metrics TEXT, summary TEXT, seconds TEXT, cpu_seconds REAL, curve TEXT, log TEXT,
  interim TEXT, early TEXT, verified TEXT, sandbox TEXT, scoring_cpu REAL);
INSERT INTO "trials" VALUES(1,1,'14e4a80316c3',NULL,0,974213327,'done','12886:100388','cpu:0','10 steps',1.79566428849619269371e+09,1.7956642893295323848e+09,'ok','',2.14430917610864923972e+00,'{"score": 2.1443091761086492}','{}','{"start": 0.642689775000008, "prepare": 0.00810738699999547, "warmup": 0.0, "train": 0.03997605200004273, "save": 0.11366222300000572}',0.123506,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(2,1,'14e4a80316c3',1,0,974213327,'done','12886:100388','cpu:0','10 steps',1.7956642894461247921e+09,1.79566429034874439239e+09,'ok','',2.12017807640932343105e+00,'{"score": 2.1201780764093234}','{}','{"start": 0.6913976360000333, "prepare": 0.0, "warmup": 0.0, "train": 0.03133741599992845, "save": 0.1223331670000789}',1.19374999999999981126e-01,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(3,1,'14e4a80316c3',NULL,1,2134309719,'done','12886:100388','cpu:0','10 steps',1.79566429037353515619e+09,1.79566429109688305851e+09,'ok','',2.14506683324647,'{"score": 2.14506683324647}','{}','{"start": 0.492026305999957, "prepare": 0.014757039999949484, "warmup": 0.0, "train": 0.05001475599999594, "save": 0.10212083800001892}',1.00233999999999989771e-01,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(4,1,'14e4a80316c3',NULL,2,1697113231,'done','12886:100388','cpu:0','10 steps',1.79566429111779451372e+09,1795664291.81673,'ok','',2.14377157310507415743e+00,'{"score": 2.143771573105074}','{}','{"start": 0.48477947699996093, "prepare": 0.0013473909999675016, "warmup": 0.0, "train": 0.04914664700004323, "save": 0.09313397100004295}',9.41019999999999912088e-02,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(5,1,'14e4a80316c3',1,1,2134309719,'done','12886:100388','cpu:0','10 steps',1.79566429184474682812e+09,1.79566429259277391436e+09,'ok','',2.12063334197859632013e+00,'{"score": 2.1206333419785963}','{}','{"start": 0.5175853030000326, "prepare": 0.0, "warmup": 0.0, "train": 0.04518972300002133, "save": 0.10270320299991909}',9.78419999999999845385e-02,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(6,1,'14e4a80316c3',1,2,1697113231,'done','12886:100388','cpu:0','10 steps',1.79566429261355495457e+09,1.7956642932756295204e+09,'ok','',2.11963986428822526164e+00,'{"score": 2.1196398642882253}','{}','{"start": 0.4565364250000812, "prepare": 0.017820297999946888, "warmup": 0.003225729000064348, "train": 0.055154306999952496, "save": 0.06991360999995777}',0.093466,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(7,1,'327b30f7342b',NULL,0,232625382,'done','12886:100388','cpu:0','10 steps',1.79566429374939393994e+09,1.79566429456870937345e+09,'ok','',2.11992613176954680653e+00,'{"score": 2.119926131769547}','{}','{"start": 0.5988633470000195, "prepare": 0.013883984000017335, "warmup": 0.005241851999926439, "train": 0.05260943300004328, "save": 0.09493154400001913}',0.121089,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(8,1,'327b30f7342b',2,0,232625382,'done','12886:100388','cpu:0','10 steps',1795664294.68779,1.79566429561873197552e+09,'ok','',2.25652044207917112927e+00,'{"score": 2.256520442079171}','{}','{"start": 0.7027733200000057, "prepare": 0.013279976999911014, "warmup": 0.0, "train": 0.03873922600007518, "save": 0.08419186899993747}',0.135772,'[[1, 2.3066555807851694], [2, 2.29756467169426], [3, 2.289988914118503], [4, 2.2835786577082464], [5, 2.278084152213741], [6, 2.273322247451836], [7, 2.2691555807851693], [8, 2.265479110196934], [9, 2.2622111363407247], [10, 2.259287159732538]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(9,1,'327b30f7342b',NULL,1,281211551,'done','12886:100388','cpu:0','10 steps',1.79566429582537150384e+09,1.79566429670868611331e+09,'ok','',2.11941914533257902419e+00,'{"score": 2.119419145332579}','{}','{"start": 0.6606222689999868, "prepare": 0.02956460400002925, "warmup": 0.0, "train": 0.04399713199995858, "save": 0.08551266000006308}',0.123106,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(10,1,'327b30f7342b',NULL,2,1183791945,'done','12886:100388','cpu:0','10 steps',1.7956642967296977043e+09,1.79566429740611100199e+09,'ok','',2.12091796733941873043e+00,'{"score": 2.1209179673394187}','{}','{"start": 0.4382844560000194, "prepare": 0.0015216589999909047, "warmup": 0.01649250699995264, "train": 0.05233371899998929, "save": 0.1026029939999944}',0.101579,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL,'null','L4',0.0);
INSERT INTO "trials" VALUES(11,1,'327b30f7342b',3,0,232625382,'done','12886:100388','cpu:0','10 steps',1.79566429753906226158e+09,1.79566429820796942713e+09,'error','ValueError: broken on purpose',NULL,'{}','{}','{"start": 0.4919222969999737, "prepare": 0.019002473000000464, "warmup": 0.0, "train": 0.10061227799997141}',9.11599999999999910382e-02,'[[1, 2.17]]','','null',NULL,'null','L4',0.0);
CREATE TABLE units(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, kind TEXT NOT NULL,
  target TEXT NOT NULL, nodeids TEXT NOT NULL, candidate INTEGER, state TEXT NOT NULL,
  owner TEXT, lane TEXT, device TEXT, current TEXT, location TEXT,
  created REAL NOT NULL, started REAL, finished REAL);
INSERT INTO "units" VALUES(1,1,'generated','experiments/_generated/test_0001_lower_lr.py','[]',1,'done','12886:100388','main','cpu:0','experiments/_generated/test_0001_lower_lr.py::test_lower_lr','["experiments/_generated/test_0001_lower_lr.py", 3, "test_lower_lr"]',1.79566428858274483677e+09,1.79566428934535312657e+09,1.79566429372797083854e+09);
INSERT INTO "units" VALUES(2,1,'generated','experiments/_generated/test_0002_harm.py','[]',2,'done','12886:100388','main','cpu:0','experiments/_generated/test_0002_harm.py::test_harm','["experiments/_generated/test_0002_harm.py", 3, "test_harm"]',1.79566428867716050142e+09,1.79566429459411764152e+09,1.79566429580916547773e+09);
INSERT INTO "units" VALUES(3,1,'generated','experiments/_generated/test_0003_crash.py','[]',3,'done','12886:100388','main','cpu:0','experiments/_generated/test_0003_crash.py::test_crash','["experiments/_generated/test_0003_crash.py", 3, "test_crash"]',1.79566428956922364236e+09,1.79566429742940068241e+09,1.79566429832116937633e+09);
CREATE TABLE verdicts(
  id INTEGER PRIMARY KEY, candidate INTEGER NOT NULL, head TEXT NOT NULL,
  decision TEXT NOT NULL, evidence TEXT NOT NULL, sandbox TEXT,
  created REAL NOT NULL);
INSERT INTO "verdicts" VALUES(1,1,'14e4a80316c3','keep','{"decision": "keep", "relation": "better", "proven_lower": true, "proven_not_worse": true, "d": -0.024232099928016115, "q": 0.3333333333333333, "sigma": 0.0001772806492618534, "df": 6.0, "paired": true, "e_value": 339.6610331794235, "keep_e": 2.0, "go_e": 1.25, "n": 3, "head_n": 3, "baseline": {"mean": 2.1443825274867314, "sd": 0.0006507380632574468, "n": 3}, "candidate": {"mean": 2.120150427558715, "sd": 0.0004973156186178235, "n": 3}, "effect": -0.02420255315313914, "effect_sd": 0.00010235303057344269, "hurdle": 0.0, "smallest_visible": 0.0002499284300193388, "rule": "default", "rule_version": 2, "sentence": "keep: 2.12015 vs 2.14438 \u00b1 0.00018 after 3 paired runs", "stopped_at": null}','L4',1.79566429330532717706e+09);
INSERT INTO "verdicts" VALUES(2,2,'327b30f7342b','discard','{"decision": "discard", "relation": "worse", "proven_lower": false, "proven_not_worse": false, "d": 0.13659431030962432, "q": 1.0, "sigma": 0.00017591363303549274, "df": 6.0, "paired": true, "e_value": 0.3482635317387647, "keep_e": 2.0, "go_e": 1.25, "n": 1, "head_n": 1, "baseline": {"mean": 2.119926131769547, "sd": 0.00017591363303549274, "n": 1}, "candidate": {"mean": 2.256520442079171, "sd": 0.00017591363303549274, "n": 1}, "effect": 0.13659431030962432, "effect_sd": 0.00017591363303549274, "hurdle": 0.0, "smallest_visible": 0.00030905232545094813, "rule": "default", "rule_version": 2, "sentence": "discard: 2.25652 vs 2.11993 \u00b1 0.00018 after 1 paired run", "stopped_at": null}','L4',1.79566429564632225029e+09);
CREATE TABLE waits(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, lane TEXT NOT NULL,
  owner TEXT NOT NULL, reason TEXT NOT NULL, started REAL NOT NULL,
  finished REAL NOT NULL);
CREATE INDEX candidates_by_source ON candidates(head, source_key);
CREATE INDEX trials_by_head ON trials(head, candidate);
CREATE INDEX verdicts_by_candidate ON verdicts(candidate);
CREATE INDEX trials_by_candidate ON trials(candidate);
CREATE INDEX events_by_kind ON events(session, kind);
CREATE INDEX trials_by_session ON trials(session, outcome);
CREATE INDEX candidates_by_state ON candidates(session, kind, state);
CREATE INDEX candidates_by_signature ON candidates(signature);
CREATE INDEX candidates_committed ON candidates(session)
  WHERE commit_id IS NOT NULL;
CREATE INDEX units_by_state ON units(session, kind, state);
CREATE INDEX units_by_candidate ON units(candidate);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('trials',11);
INSERT INTO "sqlite_sequence" VALUES('candidates',3);
INSERT INTO "sqlite_sequence" VALUES('units',3);
COMMIT;
