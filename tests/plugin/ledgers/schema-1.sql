PRAGMA user_version=1;
BEGIN TRANSACTION;
CREATE TABLE candidates(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, kind TEXT NOT NULL,
  title TEXT NOT NULL, hypothesis TEXT NOT NULL, category TEXT NOT NULL,
  edits TEXT NOT NULL, signature TEXT NOT NULL, proposer TEXT, file TEXT, test TEXT,
  nodeid TEXT, head TEXT, source_key TEXT, diff TEXT, added_lines INTEGER,
  ratio REAL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', commit_id TEXT,
  created REAL NOT NULL, started REAL, decided REAL);
INSERT INTO "candidates" VALUES(1,1,'generated','Lower LR','Lower LR helps.','other','[{"op": "set", "knob": "LR", "value": 0.02}]','41f83db50f41e699','scripted','experiments/test_0001_lower_lr.py','"""Lower LR: Lower LR helps."""


def test_lower_lr(train_module, gpu_budget, baseline):
    train_module.set(''LR'', 0.02)
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
','experiments/_generated/test_0001_lower_lr.py::test_lower_lr','4da1461cab18','5540a84977e33af9b71d79f5bcfb7a0925c2edb6900459a5924ac8f74b7fee28','--- a/train.py
+++ b/train.py
@@ -1,6 +1,6 @@
 """The smallest training module: a bowl with knobs."""
 
-LR = 0.1  # step size; range 0.001..1 log
+LR = 0.02  # step size; range 0.001..1 log
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
',0,NULL,'keep','keep: 2.11963 vs 2.14412 ± 0.00016 after 3 paired runs','ce65b04ba254ee39955bfb16b5d89509a8f8f763',1.79566426587196850779e+09,1.7956642664283292293e+09,1.79566426903372979156e+09);
INSERT INTO "candidates" VALUES(2,1,'generated','Harm','Harm helps.','other','[{"op": "set", "knob": "LR", "value": 0.9}]','83f2af91a8e07996','scripted','experiments/test_0002_harm.py','"""Harm: Harm helps."""


def test_harm(train_module, gpu_budget, baseline):
    train_module.set(''LR'', 0.9)
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
','experiments/_generated/test_0002_harm.py::test_harm','446f823d4a34','929556ef9c3504d8c2fea29ae976b9a3c123e66025c7e1a64f15c139c514003b','--- a/train.py
+++ b/train.py
@@ -1,6 +1,6 @@
 """The smallest training module: a bowl with knobs."""
 
-LR = 0.02  # step size; range 0.001..1 log
+LR = 0.9  # step size; range 0.001..1 log
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
',0,NULL,'discard','discard: 2.25668 vs 2.12027 ± 0.00016 after 1 paired run',NULL,1.79566426594349098206e+09,1.79566426995151376725e+09,1.79566427048132133486e+09);
INSERT INTO "candidates" VALUES(3,1,'generated','Crash','Crash helps.','other','[{"op": "set", "knob": "MISBEHAVE", "value": "crash"}]','e56acf81d1b0b510','scripted','experiments/test_0003_crash.py','"""Crash: Crash helps."""


def test_crash(train_module, gpu_budget, baseline):
    train_module.set(''MISBEHAVE'', ''crash'')
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
','experiments/_generated/test_0003_crash.py::test_crash','446f823d4a34','c025306f76ec35b454189671d1d25086b1d9ab7f3aa468ab38ceeee407b4044b','--- a/train.py
+++ b/train.py
@@ -4,7 +4,7 @@
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
-MISBEHAVE = ""  # what goes wrong, or nothing
+MISBEHAVE = ''crash''  # what goes wrong, or nothing
 
 
 def build_model(config):
',0,NULL,'crash','error: ValueError: broken on purpose',NULL,1.79566426651311635974e+09,1.7956642717236828804e+09,1.79566427229662942881e+09);
CREATE TABLE events(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, created REAL NOT NULL,
  kind TEXT NOT NULL, text TEXT NOT NULL);
INSERT INTO "events" VALUES(1,1,1.79566426592468857768e+09,'proposed','#001 Lower LR');
INSERT INTO "events" VALUES(2,1,1.79566426597283172609e+09,'proposed','#002 Harm');
INSERT INTO "events" VALUES(3,1,1.79566426634476017949e+09,'progress','main  baseline cf20307, run 1: score 2.1441, 0 s');
INSERT INTO "events" VALUES(4,1,1.79566426653665089604e+09,'proposed','#003 Crash');
INSERT INTO "events" VALUES(5,1,1.7956642669410464763e+09,'progress','main  #001 run 1 of at most 8: score 2.1195, 0 s; undecided: 2.11953 vs 2.14413 ± 0.00018 after 1 paired run');
INSERT INTO "events" VALUES(6,1,1.79566426747133970264e+09,'progress','main  baseline cf20307, run 2: score 2.1440, 0 s');
INSERT INTO "events" VALUES(7,1,1.79566426797329092021e+09,'progress','main  baseline cf20307, run 3: score 2.1442, 0 s');
INSERT INTO "events" VALUES(8,1,1.79566426848783612258e+09,'progress','main  #001 run 2 of at most 8: score 2.1197, 0 s; undecided: 2.11960 vs 2.14408 ± 0.00017 after 2 paired runs');
INSERT INTO "events" VALUES(9,1,1.79566426897368335716e+09,'progress','main  #001 run 3 of at most 8: score 2.1197, 0 s; keep: 2.11963 vs 2.14412 ± 0.00016 after 3 paired runs');
INSERT INTO "events" VALUES(10,1,1.79566426903435802462e+09,'progress','main  #001 Lower LR: keep: 2.11963 vs 2.14412 ± 0.00016 after 3 paired runs');
INSERT INTO "events" VALUES(11,1,1.79566426986192226407e+09,'progress','main  baseline ce65b04, run 1: score 2.1203, 0 s');
INSERT INTO "events" VALUES(12,1,1.79566426998977208143e+09,'proposer','p.jsonl has no more proposals.');
INSERT INTO "events" VALUES(13,1,1.79566427044447135923e+09,'progress','main  #002 run 1 of at most 8: score 2.2567, 0 s; discard: 2.25668 vs 2.12027 ± 0.00016 after 1 paired run');
INSERT INTO "events" VALUES(14,1,1.79566427049685788152e+09,'progress','main  #002 Harm: discard: 2.25668 vs 2.12027 ± 0.00016 after 1 paired run');
INSERT INTO "events" VALUES(15,1,1.79566427105674672123e+09,'progress','main  baseline ce65b04, run 2: score 2.1203, 0 s');
INSERT INTO "events" VALUES(16,1,1.7956642716207184792e+09,'progress','main  baseline ce65b04, run 3: score 2.1206, 0 s');
INSERT INTO "events" VALUES(17,1,1.79566427231911635402e+09,'progress','main  #003 Crash: error: ValueError: broken on purpose');
CREATE TABLE fingerprints(id TEXT PRIMARY KEY, parts TEXT NOT NULL, created REAL);
INSERT INTO "fingerprints" VALUES('20d8fa9e4b45','{"core": "eac0a7b5412d1009d94ca4d972c03ab5697ea3292ca2a240be8d0019facea37f", "corpus": "none", "noise": 0.0005, "profile": "auto", "metric": "score", "direction": "min", "budget": ["steps", 10], "command": "{python} /project/tests/plugin/toy_command.py --noise 0.0005 --no-evaluate", "device_model": "AMD EPYC"}',1.79566426570748853682e+09);
CREATE TABLE heads(
  id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, source_sha256 TEXT NOT NULL,
  source TEXT NOT NULL, commit_id TEXT, amount REAL, created REAL NOT NULL);
INSERT INTO "heads" VALUES('4da1461cab18','20d8fa9e4b45','f5fcb949f524191f8a41d7746546dafc229710ae1cfd85bee03d4eb2adf070d7','"""The smallest training module: a bowl with knobs."""

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
','cf20307c319cdb4c77465bdeb0057628c720c70d',NULL,1.79566426571685028076e+09);
INSERT INTO "heads" VALUES('446f823d4a34','20d8fa9e4b45','453d860570be55c9aa4f15eeb6a437e569a607af34a583dbc226261c856d6df3','"""The smallest training module: a bowl with knobs."""

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
','ce65b04ba254ee39955bfb16b5d89509a8f8f763',NULL,1.79566426930796742443e+09);
CREATE TABLE lanes(
  session INTEGER NOT NULL, name TEXT NOT NULL, device TEXT, status TEXT, since REAL,
  PRIMARY KEY(session, name));
INSERT INTO "lanes" VALUES(1,'main','cpu:0','null',1.7956642722652573585e+09);
CREATE TABLE leases(name TEXT PRIMARY KEY, owner TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE llm_calls(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, proposer TEXT, model TEXT,
  input_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER,
  output_tokens INTEGER, usd REAL NOT NULL, seconds REAL, status TEXT, created REAL);
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "meta" VALUES('salt','daf0cac81299139b');
CREATE TABLE reservations(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, usd REAL NOT NULL);
CREATE TABLE sessions(
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, tag TEXT, settings TEXT NOT NULL,
  profile TEXT, fingerprint TEXT, head TEXT, head_commit TEXT, first_head TEXT,
  state TEXT NOT NULL,
  reason TEXT, proposing TEXT NOT NULL DEFAULT 'no', owner TEXT NOT NULL,
  started REAL NOT NULL, finished REAL, previous_seconds REAL NOT NULL DEFAULT 0);
INSERT INTO "sessions" VALUES(1,'research','main','{"budget": null, "command": "{python} /project/tests/plugin/toy_command.py --noise 0.0005 --no-evaluate", "devices": "cpu:0", "diff": null, "direction": null, "experiments": null, "gpu_hours": null, "hours": null, "max_runs": 8, "max_usd": 10.0, "metric": null, "model": null, "price": null, "profile": "auto", "proposer": "scripted:p.jsonl", "require_keep": false, "rule": "default", "tag": null, "target": "train.py"}','{"name": "auto", "metric": "score", "direction": "min", "budget": {"unit": "steps", "amount": 10}, "evaluates": false, "charged": false, "limits": {"start": 30.0, "prepare": 30.0, "warmup": 30.0, "train": 30.0, "save": 30.0, "evaluate": 30.0}, "noise_unpaired": 0.00025, "noise_paired": 8.333333333333333e-05, "noise_df": 4.0, "fingerprint": {"core": "eac0a7b5412d1009d94ca4d972c03ab5697ea3292ca2a240be8d0019facea37f", "corpus": "none", "noise": 0.0005}, "lines": ["toy command: nothing is trained"]}','20d8fa9e4b45','446f823d4a34','ce65b04ba254ee39955bfb16b5d89509a8f8f763','4da1461cab18','finished','nothing more to try','no','12424:98326',1.79566426568935680382e+09,1.79566427242561817167e+09,0.0);
CREATE TABLE trials(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, head TEXT NOT NULL,
  candidate INTEGER, seed_index INTEGER NOT NULL, seed INTEGER NOT NULL,
  state TEXT NOT NULL, owner TEXT NOT NULL, device TEXT, budget TEXT,
  started REAL NOT NULL, finished REAL, outcome TEXT, message TEXT, value REAL,
  metrics TEXT, summary TEXT, seconds TEXT, cpu_seconds REAL, curve TEXT, log TEXT);
INSERT INTO "trials" VALUES(1,1,'4da1461cab18',NULL,0,1618151747,'done','12424:98326','cpu:0','10 steps',1.79566426583658409117e+09,1.79566426633699464804e+09,'ok','',2.14412523386001119263e+00,'{"score": 2.144125233860011}','{}','{"start": 0.3365480989999696, "prepare": 0.007728064000048107, "warmup": 0.003177867999966111, "train": 0.04676202699999976, "save": 0.06938401400009298}',0.06373,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','');
INSERT INTO "trials" VALUES(2,1,'4da1461cab18',1,0,1618151747,'done','12424:98326','cpu:0','10 steps',1.79566426644623041157e+09,1.79566426692072820658e+09,'ok','',2.11953013601891315786e+00,'{"score": 2.119530136018913}','{}','{"start": 0.3259365249999746, "prepare": 0.0015033720000019457, "warmup": 0.0020614100000102553, "train": 0.0399585059999481, "save": 0.061744201000010435}',6.31169999999999925544e-02,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','');
INSERT INTO "trials" VALUES(3,1,'4da1461cab18',NULL,1,881916490,'done','12424:98326','cpu:0','10 steps',1.79566426695315861702e+09,1.79566426746072244644e+09,'ok','',2.14404136214806717575e+00,'{"score": 2.144041362148067}','{}','{"start": 0.367719159000103, "prepare": 0.0, "warmup": 0.0, "train": 0.04001716299990221, "save": 0.05618793100006769}',6.19599999999999942468e-02,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','');
INSERT INTO "trials" VALUES(4,1,'4da1461cab18',NULL,2,736280102,'done','12424:98326','cpu:0','10 steps',1.79566426748114442825e+09,1.79566426797277545928e+09,'ok','',2.14418640040008412483e+00,'{"score": 2.144186400400084}','{}','{"start": 0.33026332899999034, "prepare": 0.010820595000041067, "warmup": 0.00010955300001569412, "train": 0.05031954899993707, "save": 0.06497608900008345}',6.51789999999999869473e-02,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','');
INSERT INTO "trials" VALUES(5,1,'4da1461cab18',1,1,881916490,'done','12424:98326','cpu:0','10 steps',1.79566426798707032197e+09,1.79566426846119284632e+09,'ok','',2.11966399043549769132e+00,'{"score": 2.1196639904354977}','{}','{"start": 0.3113271539999687, "prepare": 0.0055368399999906615, "warmup": 9.688400007235032e-05, "train": 0.042433700999936264, "save": 0.06879909500003123}',0.061389,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','');
INSERT INTO "trials" VALUES(6,1,'4da1461cab18',1,2,736280102,'done','12424:98326','cpu:0','10 steps',1.79566426849169564249e+09,1.79566426894875454901e+09,'ok','',2.11969512088187039822e+00,'{"score": 2.1196951208818704}','{}','{"start": 0.2906264009999404, "prepare": 0.013022594000062782, "warmup": 0.0, "train": 0.03704321800000798, "save": 0.07037341299997024}',0.062724,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','');
INSERT INTO "trials" VALUES(7,1,'446f823d4a34',NULL,0,1379968538,'done','12424:98326','cpu:0','10 steps',1.79566426940128040317e+09,1.79566426985031676291e+09,'ok','',2.12027054185209617997e+00,'{"score": 2.120270541852096}','{}','{"start": 0.3095779870000115, "prepare": 0.00630892699996366, "warmup": 0.003620776000047954, "train": 0.03535567199992329, "save": 0.057562191999977586}',0.061671,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','');
INSERT INTO "trials" VALUES(8,1,'446f823d4a34',2,0,1379968538,'done','12424:98326','cpu:0','10 steps',1.79566426998609781264e+09,1.79566427042072081568e+09,'ok','',2.25668142105994,'{"score": 2.25668142105994}','{}','{"start": 0.29791516199998114, "prepare": 0.0013720669999202073, "warmup": 0.01205717100003767, "train": 0.026197846000059144, "save": 0.05685650399993847}',0.059976,'[[1, 2.3066555807851694], [2, 2.29756467169426], [3, 2.289988914118503], [4, 2.2835786577082464], [5, 2.278084152213741], [6, 2.273322247451836], [7, 2.2691555807851693], [8, 2.265479110196934], [9, 2.2622111363407247], [10, 2.259287159732538]]','');
INSERT INTO "trials" VALUES(9,1,'446f823d4a34',NULL,1,310325763,'done','12424:98326','cpu:0','10 steps',1.79566427060191869738e+09,1.79566427104474115369e+09,'ok','',2.1203433436762666453e+00,'{"score": 2.1203433436762666}','{}','{"start": 0.2773046819999081, "prepare": 0.007766190000097595, "warmup": 0.0031477339999810283, "train": 0.0240048889999116, "save": 0.0776908770000091}',0.065041,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','');
INSERT INTO "trials" VALUES(10,1,'446f823d4a34',NULL,2,446359479,'done','12424:98326','cpu:0','10 steps',1.79566427107380867009e+09,1.79566427160873174663e+09,'ok','',2.12058356256757774005e+00,'{"score": 2.1205835625675777}','{}','{"start": 0.34769015200004105, "prepare": 0.01012913900001422, "warmup": 0.010366349999912927, "train": 0.02848032500003228, "save": 0.071701034000057}',6.05449999999999946553e-02,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','');
INSERT INTO "trials" VALUES(11,1,'446f823d4a34',3,0,1379968538,'done','12424:98326','cpu:0','10 steps',1.79566427175476670268e+09,1795664272.28963,'error','ValueError: broken on purpose',NULL,'{}','{}','{"start": 0.38468776700005947, "prepare": 0.0, "warmup": 0.0, "train": 0.09640658399996482}',0.051507,'[[1, 2.17]]','');
CREATE TABLE units(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, kind TEXT NOT NULL,
  target TEXT NOT NULL, nodeids TEXT NOT NULL, candidate INTEGER, state TEXT NOT NULL,
  owner TEXT, lane TEXT, device TEXT, current TEXT, location TEXT,
  created REAL NOT NULL, started REAL, finished REAL);
INSERT INTO "units" VALUES(1,1,'generated','experiments/_generated/test_0001_lower_lr.py','[]',1,'done','12424:98326','main','cpu:0','experiments/_generated/test_0001_lower_lr.py::test_lower_lr','["experiments/_generated/test_0001_lower_lr.py", 3, "test_lower_lr"]',1.79566426590503573417e+09,1.79566426635338950157e+09,1.79566426938069844242e+09);
INSERT INTO "units" VALUES(2,1,'generated','experiments/_generated/test_0002_harm.py','[]',2,'done','12424:98326','main','cpu:0','experiments/_generated/test_0002_harm.py::test_harm','["experiments/_generated/test_0002_harm.py", 3, "test_harm"]',1.79566426596897959705e+09,1.79566426987776660926e+09,1.79566427059687185293e+09);
INSERT INTO "units" VALUES(3,1,'generated','experiments/_generated/test_0003_crash.py','[]',3,'done','12424:98326','main','cpu:0','experiments/_generated/test_0003_crash.py::test_crash','["experiments/_generated/test_0003_crash.py", 3, "test_crash"]',1.79566426652503538128e+09,1.79566427163639783862e+09,1.79566427239817667004e+09);
CREATE TABLE verdicts(
  id INTEGER PRIMARY KEY, candidate INTEGER NOT NULL, head TEXT NOT NULL,
  decision TEXT NOT NULL, evidence TEXT NOT NULL, created REAL NOT NULL);
INSERT INTO "verdicts" VALUES(1,1,'4da1461cab18','keep','{"decision": "keep", "relation": "better", "proven_lower": true, "proven_not_worse": true, "d": -0.02448791635729375, "q": 0.3333333333333333, "sigma": 0.00015886074958884226, "df": 6.0, "paired": true, "e_value": 339.6610300101911, "keep_e": 2.0, "go_e": 1.25, "n": 3, "head_n": 3, "baseline": {"mean": 2.1441176654693876, "sd": 7.281472405707264e-05, "n": 3}, "candidate": {"mean": 2.1196297491120935, "sd": 8.766043818390862e-05, "n": 3}, "effect": -0.02446143956569561, "effect_sd": 9.171829653878381e-05, "hurdle": 0.0, "smallest_visible": 0.0002239602455301814, "rule": "default", "rule_version": 1, "sentence": "keep: 2.11963 vs 2.14412 \u00b1 0.00016 after 3 paired runs"}',1.79566426898086094858e+09);
INSERT INTO "verdicts" VALUES(2,2,'446f823d4a34','discard','{"decision": "discard", "relation": "worse", "proven_lower": false, "proven_not_worse": false, "d": 0.136410879207844, "q": 1.0, "sigma": 0.00015737196388111407, "df": 6.0, "paired": true, "e_value": 0.3482635317387735, "keep_e": 2.0, "go_e": 1.25, "n": 1, "head_n": 1, "baseline": {"mean": 2.120270541852096, "sd": 0.00015737196388111407, "n": 1}, "candidate": {"mean": 2.25668142105994, "sd": 0.00015737196388111407, "n": 1}, "effect": 0.136410879207844, "effect_sd": 0.00015737196388111407, "hurdle": 0.0, "smallest_visible": 0.00027647755639512015, "rule": "default", "rule_version": 1, "sentence": "discard: 2.25668 vs 2.12027 \u00b1 0.00016 after 1 paired run"}',1.79566427046394777294e+09);
CREATE INDEX candidates_by_source ON candidates(head, source_key);
CREATE INDEX trials_by_head ON trials(head, candidate);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('trials',11);
INSERT INTO "sqlite_sequence" VALUES('candidates',3);
INSERT INTO "sqlite_sequence" VALUES('units',3);
COMMIT;
