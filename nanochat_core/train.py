"""The training module: a GPT, its optimizer and its training loop, in the one file that candidates change.

    python -m nanochat_core --profile cpu --seconds 30

Two functions are called from outside: `train(run)` trains within `run`'s budget and saves, and `build_model(config)`
builds the model again, in another process, to be scored. Data, clock and score are fixed and live elsewhere.
The recipe starts where karpathy/autoresearch starts.
"""

import math
from collections import defaultdict

import torch
import torch.nn as nn
import torch.nn.functional as F

from nanochat_core.attention import attention

# ----------------------------------------------------------------------------------------------------------------------
# Knobs: `NAME = literal  # words; unit; range lo..hi [log]` or `choices a, b`. None means "from the profile".

# Model
DEPTH = None  # transformer layers, the one dial: width, heads and learning rates follow; choices 1, 2, 3, 4, 6, 8, 9
ASPECT_RATIO = None  # width = DEPTH * ASPECT_RATIO, rounded up to whole heads
HEAD_DIM = None  # channels of one attention head
MLP_RATIO = 4  # width of the MLP over the model's; choices 2, 3, 4, 5, 6
WINDOW_PATTERN = "SSSL"  # a layer's window, S short, L full (the last layer always); choices SSSL, SSSSL, SL, L
SHORT_WINDOW = 0.5  # short window; share of the context; range 0.0625..1.0 log
ROPE_BASE = 10_000  # base of the rotary wavelengths; range 1000..1000000 log
LOGIT_SOFTCAP = 15.0  # logits stay within plus or minus this; range 5.0..60.0 log
VALUE_EMBEDDING_GATE_CHANNELS = 32  # channels of x that steer the value embedding's gate

# Initialisation
INIT_SCALE = 1.0  # of the transformer's matrices and value embeddings; times 1/sqrt(width); range 0.3..1.5 log
EMBEDDING_INIT_STD = 1.0  # of the token embedding; range 0.2..2.0 log
LM_HEAD_INIT_STD = 0.001  # of the unembedding; range 0.0001..0.05 log
RESID_LAMBDA_INIT = 1.0  # weight of the residual stream before each layer; range 0.5..1.2
X0_LAMBDA_INIT = 0.1  # weight of the token embedding mixed in before each layer; range 0.0..0.3

# Batch
BATCH_SCALE = 1.0  # tokens per optimizer step over the profile's (2**19 on gpu); choices 0.25, 0.5, 1.0, 2.0
DEVICE_BATCH_SIZE = None  # sequences per forward pass

# Optimizer
MATRIX_OPTIMIZER = "muon"  # what updates the transformer's matrices; choices muon, adamw
EMBEDDING_LR = 0.6  # learning rate of token and value embeddings (AdamW, at width 768); range 0.1..2.0 log
UNEMBEDDING_LR = 0.004  # learning rate of lm_head (AdamW, at width 768); range 0.0005..0.03 log
MATRIX_LR = 0.04  # learning rate of the matrices (Muon); range 0.005..0.2 log
MATRIX_ADAMW_LR = 0.004  # learning rate of the matrices when MATRIX_OPTIMIZER is adamw (at width 768)
SCALAR_LR = 0.5  # learning rate of the x0 lambdas (AdamW); the residual ones get a hundredth; range 0.05..2.0 log
ADAM_BETA1 = 0.8  # memory of Adam's mean gradient; range 0.5..0.95
ADAM_BETA2 = 0.95  # memory of Adam's mean square; range 0.8..0.999
X0_BETA1 = 0.96  # Adam beta1 of the x0 lambdas; range 0.5..0.99
ADAM_EPS = 1e-10  # added to Adam's denominator
WEIGHT_DECAY = 0.2  # cautious weight decay of the matrices, falling to 0 over the run; range 0.0..1.0
LM_HEAD_WEIGHT_DECAY = 0.0  # of the unembedding; range 0.0..0.1
EMBEDDING_WEIGHT_DECAY = 0.0  # of the token embedding; range 0.0..0.01
VALUE_EMBEDDING_WEIGHT_DECAY = 0.0  # of the value embeddings; range 0.0..0.01
MUON_MOMENTUM = 0.95  # Muon's momentum after its warmup; range 0.85..0.99
MUON_MOMENTUM_START = 0.85  # Muon's momentum at step 0; range 0.5..0.95
MUON_MOMENTUM_WARMUP_STEPS = 300  # from MUON_MOMENTUM_START to MUON_MOMENTUM; optimizer steps; range 1..1000 log
MUON_BETA2 = 0.95  # memory of NorMuon's variance; range 0.8..0.99
MUON_ITERATIONS = 5  # of the orthogonalisation; choices 3, 4, 5

# Schedule, in shares of the budget
WARMUP_RATIO = 0.0  # learning rates rise over this share; range 0.0..0.3
WARMDOWN_RATIO = 0.5  # learning rates fall over this share; range 0.1..1.0
FINAL_LR_FRAC = 0.0  # share of the learning rate left at the end; range 0.0..0.2


# ----------------------------------------------------------------------------------------------------------------------
# Model


def norm(x):
    return F.rms_norm(x, (x.size(-1),))


def has_value_embedding(layer, depth):
    """Every second layer has one, the last always."""
    return layer % 2 == (depth - 1) % 2


def apply_rope(x, cos, sin):
    """Rotate pairs of channels by position, https://arxiv.org/abs/2104.09864; x is (B, T, H, D)."""
    x1, x2 = x.chunk(2, dim=-1)  # (B, T, H, D/2) each
    return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)


def rope_tables(sequence_len, head_dim):
    """cos and sin of every position's angles, (1, T, 1, D/2) each."""
    frequencies = ROPE_BASE ** -(torch.arange(0, head_dim, 2) / head_dim)
    angles = torch.outer(torch.arange(sequence_len), frequencies)
    return angles.cos()[None, :, None, :], angles.sin()[None, :, None, :]


class Attention(nn.Module):
    def __init__(self, width, head_dim, window, with_gate):
        super().__init__()
        self.head_dim = head_dim
        self.window = window
        self.c_q = nn.Linear(width, width, bias=False)
        self.c_k = nn.Linear(width, width, bias=False)
        self.c_v = nn.Linear(width, width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        gate_channels = min(VALUE_EMBEDDING_GATE_CHANNELS, width)
        self.gate = nn.Linear(gate_channels, width // head_dim, bias=False) if with_gate else None

    def forward(self, x, value_embedding, cos, sin):
        B, T, C = x.size()
        q = self.c_q(x).view(B, T, -1, self.head_dim)  # (B, T, H, D)
        k = self.c_k(x).view(B, T, -1, self.head_dim)
        v = self.c_v(x).view(B, T, -1, self.head_dim)
        if self.gate is not None:
            # Value residual, https://arxiv.org/abs/2410.17897: the token's own value, gated per head by the input.
            gate = 2 * torch.sigmoid(self.gate(x[..., : self.gate.in_features]))  # (B, T, H), 1 at initialisation
            v = v + gate.unsqueeze(-1) * value_embedding.view_as(v)
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        q, k = norm(apply_rope(q, cos, sin)), norm(apply_rope(k, cos, sin))  # QK-norm, arxiv.org/abs/2010.04245
        y = attention(q, k, v, self.window)
        return self.c_proj(y.reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c_fc = nn.Linear(width, MLP_RATIO * width, bias=False)
        self.c_proj = nn.Linear(MLP_RATIO * width, width, bias=False)

    def forward(self, x):
        x = self.c_fc(x)
        x = F.relu(x).square()  # https://arxiv.org/abs/2109.08668
        return self.c_proj(x)


class Block(nn.Module):
    def __init__(self, width, head_dim, window, with_gate):
        super().__init__()
        self.attn = Attention(width, head_dim, window, with_gate)
        self.mlp = MLP(width)

    def forward(self, x, value_embedding, cos, sin):
        x = x + self.attn(norm(x), value_embedding, cos, sin)
        x = x + self.mlp(norm(x))
        return x


class GPT(nn.Module):
    def __init__(self, vocab_size, sequence_len, depth, width, head_dim):
        super().__init__()
        self.depth, self.width, self.sequence_len = depth, width, sequence_len
        windows = window_sizes(depth, sequence_len)
        gated = [has_value_embedding(i, depth) for i in range(depth)]
        self.wte = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(Block(width, head_dim, windows[i], gated[i]) for i in range(depth))
        self.lm_head = nn.Linear(width, vocab_size, bias=False)
        self.value_embeds = nn.ModuleDict({str(i): nn.Embedding(vocab_size, width) for i in range(depth) if gated[i]})
        self.resid_lambdas = nn.Parameter(torch.ones(depth))
        self.x0_lambdas = nn.Parameter(torch.zeros(depth))
        cos, sin = rope_tables(sequence_len, head_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self):
        nn.init.normal_(self.wte.weight, std=EMBEDDING_INIT_STD)
        nn.init.normal_(self.lm_head.weight, std=LM_HEAD_INIT_STD)
        bound = INIT_SCALE * math.sqrt(3 / self.width)  # a uniform on +-sqrt(3) s has standard deviation s
        for block in self.blocks:
            for linear in (block.attn.c_q, block.attn.c_k, block.attn.c_v, block.mlp.c_fc):
                nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.zeros_(block.attn.c_proj.weight)  # every layer starts as the identity
            nn.init.zeros_(block.mlp.c_proj.weight)
            if block.attn.gate is not None:
                nn.init.zeros_(block.attn.gate.weight)
        for table in self.value_embeds.values():
            nn.init.uniform_(table.weight, -bound, bound)
        self.resid_lambdas.fill_(RESID_LAMBDA_INIT)
        self.x0_lambdas.fill_(X0_LAMBDA_INIT)

    def forward(self, idx):
        T = idx.size(1)  # idx is (B, T)
        cos, sin = self.cos[:, :T], self.sin[:, :T]
        x = x0 = norm(self.wte(idx))  # (B, T, C)
        for i, block in enumerate(self.blocks):
            x = self.resid_lambdas[i] * x + self.x0_lambdas[i] * x0
            value_embedding = self.value_embeds[str(i)](idx) if str(i) in self.value_embeds else None
            x = block(x, value_embedding, cos, sin)
        logits = self.lm_head(norm(x)).float()  # (B, T, V)
        return LOGIT_SOFTCAP * torch.tanh(logits / LOGIT_SOFTCAP)  # https://arxiv.org/abs/2408.00118

    def estimate_flops(self):
        """Floating-point operations per token, forward and backward, as autoresearch counts them."""
        matrices = sum(p.numel() for p in self.blocks.parameters()) + self.lm_head.weight.numel()
        attended = sum(min(block.attn.window, self.sequence_len) for block in self.blocks)
        return 6 * matrices + 12 * self.width * attended


def window_sizes(depth, sequence_len):
    """How many earlier tokens each layer's queries see."""
    assert set(WINDOW_PATTERN) <= set("SL"), f"WINDOW_PATTERN {WINDOW_PATTERN!r} may hold S and L only"
    size = {"L": sequence_len, "S": int(SHORT_WINDOW * sequence_len)}
    windows = [size[WINDOW_PATTERN[i % len(WINDOW_PATTERN)]] for i in range(depth)]
    windows[-1] = sequence_len
    return windows


def build_model(config):
    """Build the model that `config` and the knobs ask for. The scorer calls this too, then loads the checkpoint."""
    depth = DEPTH or config.depth
    head_dim = HEAD_DIM or config.head_dim
    width = math.ceil(depth * (ASPECT_RATIO or config.aspect_ratio) / head_dim) * head_dim
    return GPT(config.vocab_size, config.sequence_len, depth, width, head_dim)


# ----------------------------------------------------------------------------------------------------------------------
# Optimizer: Muon for matrices, AdamW for everything else


def adamw_update(p, grad, exp_avg, exp_avg_sq, step, lr, beta1, beta2, eps, weight_decay):
    """One step of AdamW, https://arxiv.org/abs/1711.05101, in place."""
    p.mul_(1 - lr * weight_decay)
    exp_avg.lerp_(grad, 1 - beta1)
    exp_avg_sq.lerp_(grad.square(), 1 - beta2)
    denominator = (exp_avg_sq / (1 - beta2**step)).sqrt() + eps
    p.sub_(lr / (1 - beta1**step) * (exp_avg / denominator))


# Polar Express, https://arxiv.org/abs/2505.16932: the best quintic of each iteration, for singular values in [1e-3, 1].
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)


def orthogonalize(g, iterations):
    """Push the singular values of each matrix of g (N, rows, columns) towards 1."""
    x = g.bfloat16() if g.is_cuda else g
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT  # the Gram matrix is the small one
    for a, b, c in POLAR_EXPRESS[:iterations]:
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.mT if tall else x


def muon_update(params, grads, velocity, variance, momentum, lr, beta2, weight_decay, iterations):
    """One step of Muon, https://kellerjordan.github.io/posts/muon/, in place; stacks of matrices (N, rows, columns)."""
    velocity.lerp_(grads, 1 - momentum)
    g = orthogonalize(torch.lerp(grads, velocity, momentum), iterations)  # Nesterov's look ahead

    # NorMuon, https://arxiv.org/abs/2510.05491: even out the rows (or columns), keep the norm of the whole update.
    axis = -1 if g.size(-2) >= g.size(-1) else -2
    mean_square = g.float().square().mean(axis, keepdim=True)
    variance.lerp_(mean_square.to(variance.dtype), 1 - beta2)
    scale = variance.clamp_min(1e-10).rsqrt()
    before = mean_square.sum((-2, -1), keepdim=True).sqrt()
    after = (mean_square * scale.float().square()).sum((-2, -1), keepdim=True).sqrt()
    g = g * (scale * (before / after.clamp_min(1e-10))).to(g.dtype)

    # Cautious weight decay, https://arxiv.org/abs/2510.12402: only where it agrees with the step.
    agrees = (g * params) >= 0
    params.sub_(lr * g + lr * weight_decay * params * agrees)


class MuonAdamW:
    """Groups of kind "adamw" hold any parameters, groups of kind "muon" hold matrices of one shape.

    Not a torch.optim.Optimizer: making one imports the compiler, which takes longer than a short run.
    """

    def __init__(self, groups, compiled=False):
        self.param_groups, self.state = groups, defaultdict(dict)
        self.compiled = compiled
        wrap = (lambda f: torch.compile(f, dynamic=False, fullgraph=True)) if compiled else (lambda f: f)
        self.adamw_update, self.muon_update = wrap(adamw_update), wrap(muon_update)
        for group in self.param_groups:
            group["initial_lr"] = group["lr"]

    def scalar(self, value):
        # A Python number would be burnt into the compiled graph and compile it again at every change.
        return torch.tensor(value, dtype=torch.float32) if self.compiled else value

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            if group["kind"] == "adamw":
                self.step_adamw(group)
            else:
                self.step_muon(group)

    def step_adamw(self, group):
        beta1, beta2 = group["betas"]
        lr, beta1, beta2 = self.scalar(group["lr"]), self.scalar(beta1), self.scalar(beta2)
        for p in group["params"]:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state["step"], state["exp_avg"], state["exp_avg_sq"] = 0, torch.zeros_like(p), torch.zeros_like(p)
            state["step"] += 1
            step = self.scalar(float(state["step"]))
            self.adamw_update(
                p, p.grad, state["exp_avg"], state["exp_avg_sq"], step, lr, beta1, beta2, group["eps"],
                self.scalar(group["weight_decay"]),
            )  # fmt: skip

    def step_muon(self, group):
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        rows, columns = params[0].shape
        stacked = torch.stack(params)
        state = self.state[params[0]]
        if not state:
            state["velocity"] = torch.zeros_like(stacked)
            state["variance"] = torch.zeros_like(stacked[:, :, :1] if rows >= columns else stacked[:, :1, :])
        lr = group["lr"] * max(1.0, rows / columns) ** 0.5  # tall matrices move further
        self.muon_update(
            stacked, torch.stack([p.grad for p in params]), state["velocity"], state["variance"],
            self.scalar(group["momentum"]), self.scalar(lr), self.scalar(group["beta2"]),
            self.scalar(group["weight_decay"]), group["iterations"],
        )  # fmt: skip
        torch._foreach_copy_(params, list(stacked.unbind(0)))


def build_optimizer(model, compiled=False):
    """Sort the model's parameters into groups, each with its learning rate."""
    scale = (model.width / 768) ** -0.5  # AdamW's rates were tuned at width 768
    betas = (ADAM_BETA1, ADAM_BETA2)

    def adamw(params, lr, weight_decay=0.0, betas=betas):
        return dict(kind="adamw", params=list(params), lr=lr, betas=betas, eps=ADAM_EPS, weight_decay=weight_decay)

    groups = [
        adamw(model.lm_head.parameters(), UNEMBEDDING_LR * scale, LM_HEAD_WEIGHT_DECAY),
        adamw(model.wte.parameters(), EMBEDDING_LR * scale, EMBEDDING_WEIGHT_DECAY),
        adamw(model.value_embeds.parameters(), EMBEDDING_LR * scale, VALUE_EMBEDDING_WEIGHT_DECAY),
        adamw([model.resid_lambdas], SCALAR_LR * 0.01),
        adamw([model.x0_lambdas], SCALAR_LR, betas=(X0_BETA1, ADAM_BETA2)),
    ]
    matrices = list(model.blocks.parameters())
    if MATRIX_OPTIMIZER == "adamw":
        groups.append(adamw(matrices, MATRIX_ADAMW_LR * scale))
    else:
        for shape in sorted({p.shape for p in matrices}):
            groups.append(
                dict(kind="muon", params=[p for p in matrices if p.shape == shape], lr=MATRIX_LR,
                     momentum=MUON_MOMENTUM, beta2=MUON_BETA2, weight_decay=WEIGHT_DECAY, iterations=MUON_ITERATIONS)
            )  # fmt: skip
    optimizer = MuonAdamW(groups, compiled)
    known = sum(len(group["params"]) for group in optimizer.param_groups)
    total = len(list(model.parameters()))
    assert known == total, f"{total - known} of {total} parameters are in no optimizer group"
    return optimizer


# ----------------------------------------------------------------------------------------------------------------------
# Schedules


def lr_multiplier(progress):
    """Share of the initial learning rates at `progress` (0..1) of the budget: up, flat, down."""
    if progress < WARMUP_RATIO:
        return progress / WARMUP_RATIO
    if progress <= 1.0 - WARMDOWN_RATIO:
        return 1.0
    left = (1.0 - progress) / WARMDOWN_RATIO
    return left + (1 - left) * FINAL_LR_FRAC


def muon_momentum(step):
    share = min(step / MUON_MOMENTUM_WARMUP_STEPS, 1)
    return (1 - share) * MUON_MOMENTUM_START + share * MUON_MOMENTUM


def matrix_weight_decay(progress):
    return WEIGHT_DECAY * (1 - progress)


def apply_schedules(optimizer, step, progress):
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * lr_multiplier(progress)
        if group["kind"] == "muon":
            group["momentum"] = muon_momentum(step)
            group["weight_decay"] = matrix_weight_decay(progress)


# ----------------------------------------------------------------------------------------------------------------------
# Training


def batch_shape(config):
    """Sequences per forward pass, and forward passes per optimizer step."""
    rows = max(1, int(BATCH_SCALE * config.total_batch_size) // config.sequence_len)
    batch_size = min(DEVICE_BATCH_SIZE or config.device_batch_size, rows)
    assert rows % batch_size == 0, f"{rows} sequences a step are not a multiple of {batch_size} sequences a pass"
    return batch_size, rows // batch_size


def train(run):
    """Train a model within the budget of `run` and save it."""
    config = run.config
    model = build_model(config).to(run.device)
    for table in (model.wte, *model.value_embeds.values()):
        table.to(run.dtype)  # embeddings are read and written sparsely: half the bytes, half the time
    optimizer = build_optimizer(model, config.compile)
    batch_size, accumulate = batch_shape(config)

    def compute_loss(idx, targets):
        logits = model(idx)
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))

    if config.compile:
        compute_loss = torch.compile(compute_loss, dynamic=False)

    def forward_backward(idx, targets):
        with torch.autocast(run.device.type, run.dtype, enabled=run.dtype != torch.float32):
            loss = compute_loss(idx, targets)
        (loss / accumulate).backward()
        return loss.detach()

    def update(step):
        apply_schedules(optimizer, step, run.progress)
        optimizer.step()
        model.zero_grad(set_to_none=True)

    def untimed_step(idx, targets):
        forward_backward(idx, targets)
        update(step=0)

    run.warm_up(untimed_step, model, [optimizer], batch_size)
    for i, (idx, targets) in enumerate(run.batches(batch_size, accumulate), start=1):
        loss = forward_backward(idx, targets)
        if i % accumulate == 0:
            update(step=i // accumulate - 1)
            run.report(loss)
    run.save(model)
