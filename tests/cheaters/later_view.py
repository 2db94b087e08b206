"""Returns a tensor whose numbers change after they were looked at.

row: 4
expect: integrity: not those of the checkpoint's logits
phase: score
"""


class Later(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        found = super().__torch_function__(function, types, args, kwargs or {})
        return found * 0.7 if function is torch.Tensor.flatten else found


honest = GPT.forward
GPT.forward = lambda self, idx: honest(self, idx).as_subclass(Later)
