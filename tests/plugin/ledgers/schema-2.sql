PRAGMA user_version=2;
BEGIN TRANSACTION;
CREATE TABLE audits(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, head TEXT NOT NULL,
  seed INTEGER NOT NULL, state TEXT NOT NULL, owner TEXT NOT NULL,
  started REAL NOT NULL, finished REAL, value REAL, tokens_per_step REAL,
  trained INTEGER NOT NULL DEFAULT 1);
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
','experiments/_generated/test_0001_lower_lr.py::test_lower_lr','43c546273684','5540a84977e33af9b71d79f5bcfb7a0925c2edb6900459a5924ac8f74b7fee28','--- a/train.py
+++ b/train.py
@@ -1,6 +1,6 @@
 """The smallest training module: a bowl with knobs."""
 
-LR = 0.1  # step size; range 0.001..1 log
+LR = 0.02  # step size; range 0.001..1 log
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
',0,NULL,'keep','keep: 2.11985 vs 2.14441 ± 0.00018 after 3 paired runs','021c8b2b08c9836c5fc0a4a8faaab504fbdfd3ae',1.79566427645377349854e+09,1.79566427696917819975e+09,1.79566427947796726223e+09);
INSERT INTO "candidates" VALUES(2,1,'generated','Harm','Harm helps.','other','[{"op": "set", "knob": "LR", "value": 0.9}]','83f2af91a8e07996','scripted','experiments/test_0002_harm.py','"""Harm: Harm helps."""


def test_harm(train_module, gpu_budget, baseline):
    train_module.set(''LR'', 0.9)
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
','experiments/_generated/test_0002_harm.py::test_harm','2d19f3dd8fcf','929556ef9c3504d8c2fea29ae976b9a3c123e66025c7e1a64f15c139c514003b','--- a/train.py
+++ b/train.py
@@ -1,6 +1,6 @@
 """The smallest training module: a bowl with knobs."""
 
-LR = 0.02  # step size; range 0.001..1 log
+LR = 0.9  # step size; range 0.001..1 log
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
',0,NULL,'discard','discard: 2.25658 vs 2.11967 ± 0.00017 after 1 paired run',NULL,1.79566427653079581264e+09,1.79566428036733031275e+09,1.79566428093612575527e+09);
INSERT INTO "candidates" VALUES(3,1,'generated','Crash','Crash helps.','other','[{"op": "set", "knob": "MISBEHAVE", "value": "crash"}]','e56acf81d1b0b510','scripted','experiments/test_0003_crash.py','"""Crash: Crash helps."""


def test_crash(train_module, gpu_budget, baseline):
    train_module.set(''MISBEHAVE'', ''crash'')
    result = gpu_budget.run(train_module)
    assert result.score < baseline.score
','experiments/_generated/test_0003_crash.py::test_crash','2d19f3dd8fcf','c025306f76ec35b454189671d1d25086b1d9ab7f3aa468ab38ceeee407b4044b','--- a/train.py
+++ b/train.py
@@ -4,7 +4,7 @@
 WIDTH = 4  # units; range 1..16
 DECAY = False  # lower the step size; choices True, False
 STEP_COST = 1.0  # CPU time of a step, about 2 ms each
-MISBEHAVE = ""  # what goes wrong, or nothing
+MISBEHAVE = ''crash''  # what goes wrong, or nothing
 
 
 def build_model(config):
',0,NULL,'crash','error: ValueError: broken on purpose',NULL,1.79566427702031302456e+09,1.79566428198531985284e+09,1.79566428242551398282e+09);
CREATE TABLE events(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, created REAL NOT NULL,
  kind TEXT NOT NULL, text TEXT NOT NULL);
INSERT INTO "events" VALUES(1,1,1.79566427648392128949e+09,'proposed','#001 Lower LR');
INSERT INTO "events" VALUES(2,1,1.7956642765570380687e+09,'proposed','#002 Harm');
INSERT INTO "events" VALUES(3,1,1.7956642769186668396e+09,'progress','main  baseline ed0d01a, run 1: score 2.1446, 0 s');
INSERT INTO "events" VALUES(4,1,1.79566427706466507914e+09,'proposed','#003 Crash');
INSERT INTO "events" VALUES(5,1,1.79566427749499368665e+09,'progress','main  #001 run 1 of at most 8: score 2.1200, 0 s; undecided: 2.12001 vs 2.14462 ± 0.00018 after 1 paired run');
INSERT INTO "events" VALUES(6,1,1.79566427799501943584e+09,'progress','main  baseline ed0d01a, run 2: score 2.1440, 0 s');
INSERT INTO "events" VALUES(7,1,1.79566427850484251977e+09,'progress','main  baseline ed0d01a, run 3: score 2.1446, 0 s');
INSERT INTO "events" VALUES(8,1,1.79566427899387192723e+09,'progress','main  #001 run 2 of at most 8: score 2.1193, 0 s; undecided: 2.11966 vs 2.14432 ± 0.00016 after 2 paired runs');
INSERT INTO "events" VALUES(9,1,1.79566427943346977233e+09,'progress','main  #001 run 3 of at most 8: score 2.1202, 0 s; keep: 2.11985 vs 2.14441 ± 0.00018 after 3 paired runs');
INSERT INTO "events" VALUES(10,1,1.79566427947945260997e+09,'progress','main  #001 Lower LR: keep: 2.11985 vs 2.14441 ± 0.00018 after 3 paired runs');
INSERT INTO "events" VALUES(11,1,1.79566428030065751075e+09,'progress','main  baseline 021c8b2, run 1: score 2.1197, 0 s');
INSERT INTO "events" VALUES(12,1,1.79566428039060544969e+09,'proposer','p.jsonl has no more proposals.');
INSERT INTO "events" VALUES(13,1,1.79566428091355109212e+09,'progress','main  #002 run 1 of at most 8: score 2.2566, 0 s; discard: 2.25658 vs 2.11967 ± 0.00017 after 1 paired run');
INSERT INTO "events" VALUES(14,1,1.79566428094239401817e+09,'progress','main  #002 Harm: discard: 2.25658 vs 2.11967 ± 0.00017 after 1 paired run');
INSERT INTO "events" VALUES(15,1,1.79566428144480752949e+09,'progress','main  baseline 021c8b2, run 2: score 2.1199, 0 s');
INSERT INTO "events" VALUES(16,1,1.79566428192139720919e+09,'progress','main  baseline 021c8b2, run 3: score 2.1210, 0 s');
INSERT INTO "events" VALUES(17,1,1.79566428243269324304e+09,'progress','main  #003 Crash: error: ValueError: broken on purpose');
CREATE TABLE fingerprints(id TEXT PRIMARY KEY, parts TEXT NOT NULL, created REAL);
INSERT INTO "fingerprints" VALUES('d272bff5375b','{"core": "911a9d5c75c6f7aec56ceb681d4c879075567b74dd7da3f9936f408dc23397c3", "corpus": "none", "noise": 0.0005, "profile": "auto", "metric": "score", "direction": "min", "budget": ["steps", 10], "command": "{python} /project/tests/plugin/toy_command.py --noise 0.0005 --no-evaluate", "device_model": "AMD EPYC"}',1.79566427621201324458e+09);
CREATE TABLE heads(
  id TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, source_sha256 TEXT NOT NULL,
  source TEXT NOT NULL, commit_id TEXT, amount REAL, inherits INTEGER,
  created REAL NOT NULL);
INSERT INTO "heads" VALUES('43c546273684','d272bff5375b','f5fcb949f524191f8a41d7746546dafc229710ae1cfd85bee03d4eb2adf070d7','"""The smallest training module: a bowl with knobs."""

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
','ed0d01aa5d56d1f91d038e3a0b5283211e11f0d6',NULL,NULL,1.7956642762215862274e+09);
INSERT INTO "heads" VALUES('2d19f3dd8fcf','d272bff5375b','453d860570be55c9aa4f15eeb6a437e569a607af34a583dbc226261c856d6df3','"""The smallest training module: a bowl with knobs."""

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
','021c8b2b08c9836c5fc0a4a8faaab504fbdfd3ae',NULL,NULL,1.79566427975477480886e+09);
CREATE TABLE lanes(
  session INTEGER NOT NULL, name TEXT NOT NULL, device TEXT, status TEXT, since REAL,
  PRIMARY KEY(session, name));
INSERT INTO "lanes" VALUES(1,'main','cpu:0','null',1.79566428239109468455e+09);
CREATE TABLE leases(name TEXT PRIMARY KEY, owner TEXT NOT NULL, since REAL NOT NULL);
CREATE TABLE llm_calls(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, proposer TEXT, model TEXT,
  input_tokens INTEGER, cache_read_tokens INTEGER, cache_write_tokens INTEGER,
  output_tokens INTEGER, usd REAL NOT NULL, seconds REAL, status TEXT, created REAL);
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "meta" VALUES('salt','0d7b777a6831edf1');
CREATE TABLE reservations(
  id INTEGER PRIMARY KEY, session INTEGER NOT NULL, usd REAL NOT NULL);
CREATE TABLE sessions(
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, tag TEXT, settings TEXT NOT NULL,
  profile TEXT, fingerprint TEXT, head TEXT, head_commit TEXT, first_head TEXT,
  state TEXT NOT NULL,
  reason TEXT, proposing TEXT NOT NULL DEFAULT 'no', owner TEXT NOT NULL,
  started REAL NOT NULL, finished REAL, previous_seconds REAL NOT NULL DEFAULT 0);
INSERT INTO "sessions" VALUES(1,'research','main','{"audit": "auto", "budget": null, "command": "{python} /project/tests/plugin/toy_command.py --noise 0.0005 --no-evaluate", "devices": "cpu:0", "diff": null, "direction": null, "experiments": null, "gpu_hours": null, "hours": null, "max_runs": 8, "max_usd": 10.0, "metric": null, "model": null, "price": null, "profile": "auto", "proposer": "scripted:p.jsonl", "require_keep": false, "rule": "default", "stop_early": "auto", "tag": null, "target": "train.py"}','{"name": "auto", "metric": "score", "direction": "min", "budget": {"unit": "steps", "amount": 10}, "evaluates": false, "interim": false, "charged": false, "limits": {"start": 30.0, "prepare": 30.0, "warmup": 30.0, "train": 30.0, "save": 30.0, "evaluate": 30.0}, "noise_unpaired": 0.00025, "noise_paired": 8.333333333333333e-05, "noise_df": 4.0, "fingerprint": {"core": "911a9d5c75c6f7aec56ceb681d4c879075567b74dd7da3f9936f408dc23397c3", "corpus": "none", "noise": 0.0005}, "lines": ["toy command: nothing is trained"]}','d272bff5375b','2d19f3dd8fcf','021c8b2b08c9836c5fc0a4a8faaab504fbdfd3ae','43c546273684','finished','nothing more to try','no','12716:99362',1.79566427619599246982e+09,1795664282.50117,0.0);
CREATE TABLE trials(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, head TEXT NOT NULL,
  candidate INTEGER, seed_index INTEGER NOT NULL, seed INTEGER NOT NULL,
  state TEXT NOT NULL, owner TEXT NOT NULL, device TEXT, budget TEXT,
  started REAL NOT NULL, finished REAL, outcome TEXT, message TEXT, value REAL,
  metrics TEXT, summary TEXT, seconds TEXT, cpu_seconds REAL, curve TEXT, log TEXT,
  interim TEXT, early TEXT);
INSERT INTO "trials" VALUES(1,1,'43c546273684',NULL,0,1052791753,'done','12716:99362','cpu:0','10 steps',1.79566427642392659191e+09,1.79566427691804385183e+09,'ok','',2.14461769280144842753e+00,'{"score": 2.1446176928014484}','{}','{"start": 0.31123850300002687, "prepare": 0.009549558000003344, "warmup": 0.010658734999992703, "train": 0.04334202899997308, "save": 0.06967238200002157}',7.53269999999999911866e-02,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','','null',NULL);
INSERT INTO "trials" VALUES(2,1,'43c546273684',1,0,1052791753,'done','12716:99362','cpu:0','10 steps',1.79566427698662066459e+09,1.79566427747680640216e+09,'ok','',2.12000588569426806628e+00,'{"score": 2.120005885694268}','{}','{"start": 0.3436416760000611, "prepare": 0.0015386039999611967, "warmup": 0.006505919999995058, "train": 0.034855309000022316, "save": 0.04128423400004522}',0.06108,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL);
INSERT INTO "trials" VALUES(3,1,'43c546273684',NULL,1,331439100,'done','12716:99362','cpu:0','10 steps',1.79566427751311278346e+09,1.795664277980670929e+09,'ok','',2.1440132116519703409e+00,'{"score": 2.1440132116519703}','{}','{"start": 0.3287466819999736, "prepare": 0.0, "warmup": 0.0, "train": 0.03596470600007251, "save": 0.06457053199994789}',5.79670000000000046336e-02,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','','null',NULL);
INSERT INTO "trials" VALUES(4,1,'43c546273684',NULL,2,1245752213,'done','12716:99362','cpu:0','10 steps',1.7956642780026333332e+09,1.7956642784960796833e+09,'ok','',2.14459421040632,'{"score": 2.14459421040632}','{}','{"start": 0.35382523099997343, "prepare": 0.0, "warmup": 0.0, "train": 0.033982232999960615, "save": 0.06065019700008634}',0.062236,'[[1, 2.194427953348075], [2, 2.1853370442571656], [3, 2.1777612866814082], [4, 2.171351030271152], [5, 2.1658565247766464], [6, 2.1610946200147416], [7, 2.1569279533480747], [8, 2.1532514827598392], [9, 2.14998350890363], [10, 2.1470595322954433]]','','null',NULL);
INSERT INTO "trials" VALUES(5,1,'43c546273684',1,1,331439100,'done','12716:99362','cpu:0','10 steps',1.79566427851059675214e+09,1.79566427897522068023e+09,'ok','',2.11931718305080130093e+00,'{"score": 2.1193171830508013}','{}','{"start": 0.3234101290000808, "prepare": 0.0, "warmup": 0.0, "train": 0.0319881529999293, "save": 0.052310835000071165}',6.14579999999999918025e-02,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL);
INSERT INTO "trials" VALUES(6,1,'43c546273684',1,2,1245752213,'done','12716:99362','cpu:0','10 steps',1.79566427900592184068e+09,1.79566427940871429442e+09,'ok','',2.12022450287560060289e+00,'{"score": 2.1202245028756006}','{}','{"start": 0.24977968500002135, "prepare": 0.011887268999998923, "warmup": 0.0027153720000114845, "train": 0.031051141000034477, "save": 0.06421726299993225}',0.059819,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL);
INSERT INTO "trials" VALUES(7,1,'2d19f3dd8fcf',NULL,0,874081020,'done','12716:99362','cpu:0','10 steps',1795664279.84922,1.79566428029674386972e+09,'ok','',2.11966975122055689695e+00,'{"score": 2.119669751220557}','{}','{"start": 0.3377249270000675, "prepare": 0.008168296999997438, "warmup": 0.014221625000004678, "train": 0.021638345999917874, "save": 0.04086493199997676}',0.068825,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL);
INSERT INTO "trials" VALUES(8,1,'2d19f3dd8fcf',2,0,874081020,'done','12716:99362','cpu:0','10 steps',1.79566428037881946561e+09,1.79566428089731383328e+09,'ok','',2.25657746279090476448e+00,'{"score": 2.2565774627909048}','{}','{"start": 0.34334611800011317, "prepare": 0.0, "warmup": 0.0, "train": 0.059991192999973464, "save": 0.061888965999969514}',5.98109999999999961128e-02,'[[1, 2.3066555807851694], [2, 2.29756467169426], [3, 2.289988914118503], [4, 2.2835786577082464], [5, 2.278084152213741], [6, 2.273322247451836], [7, 2.2691555807851693], [8, 2.265479110196934], [9, 2.2622111363407247], [10, 2.259287159732538]]','','null',NULL);
INSERT INTO "trials" VALUES(9,1,'2d19f3dd8fcf',NULL,1,87723448,'done','12716:99362','cpu:0','10 steps',1.79566428103733229633e+09,1.79566428143571138378e+09,'ok','',2.11994102412701534987e+00,'{"score": 2.1199410241270153}','{}','{"start": 0.25270096700000977, "prepare": 0.006885403000069346, "warmup": 0.006479309999917859, "train": 0.031973791000041274, "save": 0.07144160899997587}',6.07449999999999934452e-02,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL);
INSERT INTO "trials" VALUES(10,1,'2d19f3dd8fcf',NULL,2,611621738,'done','12716:99362','cpu:0','10 steps',1.79566428144863724706e+09,1.79566428190869545938e+09,'ok','',2.12097771051121375407e+00,'{"score": 2.1209777105112138}','{}','{"start": 0.2971131009999226, "prepare": 0.008700067000063427, "warmup": 0.005728464999947391, "train": 0.03529551300005096, "save": 0.07414424099999906}',0.062892,'[[1, 2.17], [2, 2.1609090909090907], [3, 2.1533333333333333], [4, 2.146923076923077], [5, 2.1414285714285715], [6, 2.1366666666666667], [7, 2.1325], [8, 2.1288235294117643], [9, 2.125555555555555], [10, 2.1226315789473684]]','','null',NULL);
INSERT INTO "trials" VALUES(11,1,'2d19f3dd8fcf',3,0,874081020,'done','12716:99362','cpu:0','10 steps',1.79566428200588965417e+09,1.79566428242347121235e+09,'error','ValueError: broken on purpose',NULL,'{}','{}','{"start": 0.2623652109999739, "prepare": 0.00794503600002372, "warmup": 0.01203053100005036, "train": 0.07200993300000391}',0.055711,'[[1, 2.17]]','','null',NULL);
CREATE TABLE units(
  id INTEGER PRIMARY KEY AUTOINCREMENT, session INTEGER NOT NULL, kind TEXT NOT NULL,
  target TEXT NOT NULL, nodeids TEXT NOT NULL, candidate INTEGER, state TEXT NOT NULL,
  owner TEXT, lane TEXT, device TEXT, current TEXT, location TEXT,
  created REAL NOT NULL, started REAL, finished REAL);
INSERT INTO "units" VALUES(1,1,'generated','experiments/_generated/test_0001_lower_lr.py','[]',1,'done','12716:99362','main','cpu:0','experiments/_generated/test_0001_lower_lr.py::test_lower_lr','["experiments/_generated/test_0001_lower_lr.py", 3, "test_lower_lr"]',1.79566427647707843777e+09,1.79566427692327857017e+09,1.79566427982623720172e+09);
INSERT INTO "units" VALUES(2,1,'generated','experiments/_generated/test_0002_harm.py','[]',2,'done','12716:99362','main','cpu:0','experiments/_generated/test_0002_harm.py::test_harm','["experiments/_generated/test_0002_harm.py", 3, "test_harm"]',1.79566427655112385757e+09,1.79566428030923509601e+09,1.7956642810298604965e+09);
INSERT INTO "units" VALUES(3,1,'generated','experiments/_generated/test_0003_crash.py','[]',3,'done','12716:99362','main','cpu:0','experiments/_generated/test_0003_crash.py::test_crash','["experiments/_generated/test_0003_crash.py", 3, "test_crash"]',1.79566427705697584157e+09,1.79566428193350625039e+09,1.79566428249318575855e+09);
CREATE TABLE verdicts(
  id INTEGER PRIMARY KEY, candidate INTEGER NOT NULL, head TEXT NOT NULL,
  decision TEXT NOT NULL, evidence TEXT NOT NULL, created REAL NOT NULL);
INSERT INTO "verdicts" VALUES(1,1,'43c546273684','keep','{"decision": "keep", "relation": "better", "proven_lower": true, "proven_not_worse": true, "d": -0.024559181079689612, "q": 0.3333333333333333, "sigma": 0.00017565720689494808, "df": 6.0, "paired": true, "e_value": 339.6610300101911, "keep_e": 2.0, "go_e": 1.25, "n": 3, "head_n": 3, "baseline": {"mean": 2.1444083716199125, "sd": 0.00034241992628720514, "n": 3}, "candidate": {"mean": 2.1198491905402235, "sd": 0.0004735212187371209, "n": 3}, "effect": -0.024529904878540454, "effect_sd": 0.00010141573568589605, "hurdle": 0.0, "smallest_visible": 0.0002476397177223287, "rule": "default", "rule_version": 2, "sentence": "keep: 2.11985 vs 2.14441 \u00b1 0.00018 after 3 paired runs", "stopped_at": null}',1.79566427944046378131e+09);
INSERT INTO "verdicts" VALUES(2,2,'2d19f3dd8fcf','discard','{"decision": "discard", "relation": "worse", "proven_lower": false, "proven_not_worse": false, "d": 0.13690771157034787, "q": 1.0, "sigma": 0.0001742615468056209, "df": 6.0, "paired": true, "e_value": 0.3482635317387735, "keep_e": 2.0, "go_e": 1.25, "n": 1, "head_n": 1, "baseline": {"mean": 2.119669751220557, "sd": 0.0001742615468056209, "n": 1}, "candidate": {"mean": 2.2565774627909048, "sd": 0.0001742615468056209, "n": 1}, "effect": 0.13690771157034787, "effect_sd": 0.0001742615468056209, "hurdle": 0.0, "smallest_visible": 0.0003061498722278693, "rule": "default", "rule_version": 2, "sentence": "discard: 2.25658 vs 2.11967 \u00b1 0.00017 after 1 paired run", "stopped_at": null}',1.79566428092331552505e+09);
CREATE INDEX candidates_by_source ON candidates(head, source_key);
CREATE INDEX trials_by_head ON trials(head, candidate);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('trials',11);
INSERT INTO "sqlite_sequence" VALUES('candidates',3);
INSERT INTO "sqlite_sequence" VALUES('units',3);
COMMIT;
