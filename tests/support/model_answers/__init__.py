"""What a model server with OpenAI's API, or Anthropic's, answers: it does what the request asks for.

The words it says are made of what it was asked, so that who reads the answer can tell that all of it had arrived.
A request may say how it wants to be answered, in a field that only this server knows (`x_mock`, see `wish`): gateways
must pass on what they do not know, so such requests work through any number of them.
"""

from support.model_answers.answer import Answer, Refused, Request, refusal
from support.model_answers.endpoints import answer
from support.model_answers.wish import wished

__all__ = ["Answer", "Refused", "Request", "answer", "refusal", "wished"]
