"""What Patchwork is worth on your video: a network through windows, and all else that its cost would buy.

  patchwork-compare --system=oid-pw-m4n2,oid-pw-m4n1 --video=yours.mp4 --html=/tmp/price.html
  patchwork-compare --tflite=yours.tflite --labels=labels.txt --video=yours.mp4
  patchwork-compare --checkpoint=/tmp/mine --dataset=folder --data_dir=/tmp/prepared --split=val

Rivals are chosen by measured cost: every k-th frame at the mean cost of windows, every k-th frame k - 1 late and
smaller frames at their worst case, half the depth where there are such weights. All are exported and answer the
same frames by turns, one thread; what they keep is agreement with the network on every whole frame, or accuracy
where there is truth. Ctrl-C ends it with what was measured until then.

--beam_runner times the first 1000 frames, then has many videos answered side by side; Ctrl-C leaves nothing of it.
"""

import sys

from patchwork_tf import cli, files

_FLAGS = cli.Flags()
_FLAGS.list(
    "system",
    "Windows to compare, such as oid-pw-m4n2; with --checkpoint or --tflite their endings, by default pw-m4n2, "
    "pw-m4n1 and pw-m2n1.",
)
cli.define(_FLAGS, "checkpoint")
_FLAGS.string(
    "tflite",
    "A network of yours as it runs today: it is imported, and is what all are held against. With --checkpoint, "
    "what patchwork-import has made of it.",
)
_FLAGS.string("labels", "Of --tflite: text file of its class names.")
cli.define(_FLAGS, "video", "dataset", "data_dir", "config", "split", split="validation")
_FLAGS.list("types", "Also Patchwork in float16, int8; none for float32 alone.", default="none,float16,int8")
cli.define(_FLAGS, "image_size", "max_frames")
_FLAGS.count("num_videos", "Of --dataset; by default all.")
cli.define(_FLAGS, "beam_runner", "beam_options", "seed", "json")
_FLAGS.string("html", "The page to write: sentences, two plots, the table.")


@cli.command("patchwork-compare", _FLAGS, __doc__)
def main():
    """Measures all methods, then writes JSON, page and table."""
    from patchwork_tf.commands import compare_report, compare_run

    cli.check_outputs(_FLAGS, "json", "html")
    result = compare_run.run(_FLAGS)
    if _FLAGS.json:
        judgement = compare_report.sentences(result)
        files.write_json(_FLAGS.json, {**result, "judgement": judgement}, indent=1)
    if _FLAGS.html:
        with files.atomic_file(_FLAGS.html, "w") as file:
            file.write(compare_report.page(result))
    print(compare_report.table(result))


if __name__ == "__main__":
    sys.exit(main())
