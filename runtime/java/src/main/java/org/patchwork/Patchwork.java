package org.patchwork;

import java.io.IOException;
import java.nio.*;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A file of patchwork-export, opened: it answers the frames of videos, each through a {@link Stream}.
 *
 * <p>A model and its streams may be used by any thread, one at a time: who comes while another is at work gets an
 * IllegalStateException. What is wrong with an argument is an IllegalArgumentException, or a NullPointerException.
 * Nothing is freed but by close(), of the model and of each stream, in any order; twice is fine.
 */
public final class Patchwork implements AutoCloseable {
  private static final int BAD_ARGUMENT = 1, BAD_FILE = 2, NO_MEMORY = 4, BUSY = 5, MOST_THREADS = 64;
  private static final int DETECTION = 6; // numbers of one
  private static volatile boolean isLoaded;

  private final ReentrantLock lock = new ReentrantLock();
  private final long[] model = {0}; // 0 once it is closed, as of streams
  private final ByteBuffer content; // the library reads it as long as the model or a stream lives
  private final int[] size = new int[4];
  private final List<String> labels;

  /**
   * Loads the library of this class and LiteRT's, once in an app and before all else.
   * @param library LiteRT's path, or its name if the system finds it by that, as Android finds "libLiteRt.so"
   * @throws UnsatisfiedLinkError if one of them is missing, or is not what it should be
   */
  public static void load(String library) {
    ByteBuffer path = bytes(library, "library");
    System.loadLibrary("patchwork_jni");
    int status = loadLibrary(path);
    if (status == BAD_FILE) throw new UnsatisfiedLinkError(line());
    check(status);
    isLoaded = true;
  }

  /**
   * Opens a file by its path.
   * @param threads of inference; one is fastest for small windows
   * @throws IOException if there is no such file, or it is none that this library can run
   */
  public static Patchwork open(String path, int threads) throws IOException {
    return new Patchwork(bytes(path, "path"), null, 0, 0, 0, threads);
  }

  /** The same of a file in memory: a direct buffer at an address that 16 divides, not to be changed until close(). */
  public static Patchwork open(ByteBuffer content, int threads) throws IOException {
    return new Patchwork(null, direct(content, "content"), 0, 0, 0, threads);
  }

  /**
   * The same of a part of a file, as Android's AssetFileDescriptor gives it: getParcelFileDescriptor().getFd(),
   * getStartOffset() and getLength(). It may be closed after.
   */
  public static Patchwork open(int descriptor, long offset, long length, int threads) throws IOException {
    return new Patchwork(null, null, descriptor, offset, length, threads);
  }

  private Patchwork(ByteBuffer path, ByteBuffer content, int descriptor, long offset, long length, int threads)
      throws IOException {
    if (!isLoaded) throw new IllegalStateException("no LiteRT yet: call Patchwork.load first");
    if (threads < 1 || threads > MOST_THREADS) {
      throw new IllegalArgumentException("threads: not between 1 and " + MOST_THREADS);
    }
    this.content = content;
    int status = openModel(path, content, descriptor, offset, length, threads, model, size);
    if (status == BAD_FILE) throw new IOException(line());
    check(status);
    List<String> names = new ArrayList<>();
    for (byte[] name; (name = label(model[0], names.size())) != null; ) {
      names.add(new String(name, StandardCharsets.UTF_8));
    }
    labels = Collections.unmodifiableList(names);
  }

  /** Names of classes; a detection's label is a place in it. */
  public List<String> labels() { return labels; }
  public String label(int label) { return labels.get(label); }

  /** Of the frames that the network sees, in pixels. Those that are pushed may have any size. */
  public int height() { return size[0]; }
  public int width() { return size[1]; }

  /** Per side of the network's grid; those of a window. */
  public int cells() { return size[2]; }
  public int windowCells() { return size[3]; }

  /** How a video begins. */
  public enum Start {
    /** The first frame is looked at as a whole, at 1.1 to 1.2 times the cost of the single-frame network. */
    WHOLE,
    /** No frame costs more than a window: the first ones look through windows that cover the frame. */
    SWEEP
  }

  public Stream stream() { return stream(Start.WHOLE); }

  public Stream stream(Start start) {
    int number = Objects.requireNonNull(start, "start: null") == Start.SWEEP ? 1 : 0;
    Stream stream = new Stream();
    alone(() -> check(openStream(isOpen(model), number, stream.stream)));
    return stream;
  }

  /** Its streams go on until they are closed, too. */
  @Override public void close() { alone(() -> closeModel(model)); }

  /** A video. */
  public final class Stream implements AutoCloseable {
    private final long[] stream = {0};
    private ByteBuffer mask, classes;

    private Stream() {}

    /** Answers the next frame. Frames of one video have one size and rotation. */
    public Answer push(Frame frame) { return alone(() -> answer(Objects.requireNonNull(frame, "frame: null"))); }

    /** Forgets the video: after a cut, a turn of the phone, or a pause. */
    public void reset() { alone(() -> check(resetStream(isOpen(stream)))); }

    @Override public void close() { alone(() -> closeStream(stream)); }

    private Answer answer(Frame frame) {
      // Android takes the memory back when an image is closed, and says so only to who reads it from Java.
      for (ByteBuffer plane : frame.planes) plane.get(0);
      int[] facts = new int[8];
      check(pushFrame(isOpen(stream), frame.facts, frame.planes, facts));
      int[] found = new int[DETECTION * facts[0]];
      int pixels = Math.multiplyExact(facts[3], facts[4]);
      mask = facts[1] == 0 ? null : memory(mask, pixels);
      classes = facts[2] == 0 ? null : memory(classes, pixels);
      copyAnswer(stream[0], found, mask, classes);
      return new Answer(facts, found, labels, mask, classes);
    }
  }

  /** An object in a frame. Places are fractions of the frame, upright. */
  public static final class Detection {
    public final float ymin, xmin, ymax, xmax, score;
    public final int label;
    public final String name; // of the label; "" if the file has none

    private Detection(int[] found, int at, List<String> labels) {
      ymin = Float.intBitsToFloat(found[at]);
      xmin = Float.intBitsToFloat(found[at + 1]);
      ymax = Float.intBitsToFloat(found[at + 2]);
      xmax = Float.intBitsToFloat(found[at + 3]);
      score = Float.intBitsToFloat(found[at + 4]);
      label = found[at + 5];
      name = label >= 0 && label < labels.size() ? labels.get(label) : "";
    }
  }

  /**
   * What is known after a frame, all of it, also what was not looked at. `mask` and `classes` are memory of the
   * stream, which its next push writes anew; they outlast close(). All else stays as it is.
   */
  public static final class Answer {
    public final List<Detection> detections; // of a detector, the best first; else empty
    public final FloatBuffer mask; // of a segmenter, probabilities, row by row, of the whole frame, upright; else null
    public final IntBuffer classes; // of one of several classes: 0 is background, else 1 + the label; else null
    public final int maskHeight, maskWidth;
    public final int row, column; // of the window that was looked at, in cells; -1 for the whole frame
    public final boolean looked; // false if the system skips this frame, and the answer is the one before

    private Answer(int[] facts, int[] found, List<String> labels, ByteBuffer mask, ByteBuffer classes) {
      List<Detection> list = new ArrayList<>();
      for (int at = 0; at < found.length; at += DETECTION) list.add(new Detection(found, at, labels));
      detections = Collections.unmodifiableList(list);
      this.mask = mask == null ? null : mask.asFloatBuffer();
      this.classes = classes == null ? null : classes.asIntBuffer();
      maskHeight = facts[3];
      maskWidth = facts[4];
      row = facts[5];
      column = facts[6];
      looked = facts[7] != 0;
    }
  }

  /**
   * A frame as a camera or a decoder gives it, 8 bits each: where its pixels are, not a copy of them. Buffers are
   * direct; the first row is at a buffer's position; `stride` is bytes from one row to the next. `fullRange` is true
   * if black is 0 and white 255, as of cameras; false if 16 and 235, as in video. Buffers may be filled anew and the
   * same Frame pushed again. They are read in push; meanwhile no other thread may free them, or close the image.
   */
  public static final class Frame {
    private static final int[] BYTES = {3, 3, 4, 4, 1, 1, 1, 1}; // of a pixel of the first plane, by format
    private final int[] facts; // format, height, width, rotation, strides of three planes, step, full range
    private final ByteBuffer[] planes;

    public static Frame rgb(ByteBuffer pixels, int height, int width, int stride) {
      return new Frame(0, height, width, 0, stride, 0, 1, false, pixels);
    }
    public static Frame bgr(ByteBuffer pixels, int height, int width, int stride) {
      return new Frame(1, height, width, 0, stride, 0, 1, false, pixels);
    }
    /** Also what Android calls ARGB_8888. Alpha is not looked at. */
    public static Frame rgba(ByteBuffer pixels, int height, int width, int stride) {
      return new Frame(2, height, width, 0, stride, 0, 1, false, pixels);
    }
    public static Frame bgra(ByteBuffer pixels, int height, int width, int stride) {
      return new Frame(3, height, width, 0, stride, 0, 1, false, pixels);
    }
    public static Frame grey(ByteBuffer pixels, int height, int width, int stride) {
      return new Frame(4, height, width, 0, stride, 0, 1, false, pixels);
    }

    public static Frame nv12(ByteBuffer y, ByteBuffer uv, int height, int width, int yStride, int uvStride,
        boolean fullRange) {
      return new Frame(5, height, width, 0, yStride, uvStride, 2, fullRange, y, uv);
    }
    public static Frame nv21(ByteBuffer y, ByteBuffer vu, int height, int width, int yStride, int vuStride,
        boolean fullRange) {
      return new Frame(6, height, width, 0, yStride, vuStride, 2, fullRange, y, vu);
    }

    /** Android's YUV_420_888, of which U and V have the same strides; with a `pixelStride` of 1, I420. */
    public static Frame yuv420(ByteBuffer y, ByteBuffer u, ByteBuffer v, int height, int width, int yStride,
        int chromaStride, int pixelStride, int rotationDegrees, boolean fullRange) {
      return new Frame(7, height, width, rotationDegrees, yStride, chromaStride, pixelStride, fullRange, y, u, v);
    }

    /** The same pixels, to be turned by 0, 90, 180 or 270 degrees clockwise, after which they stand upright. */
    public Frame rotated(int degrees) {
      return new Frame(facts[0], facts[1], facts[2], degrees, facts[4], facts[5], facts[7], facts[8] != 0, planes);
    }

    private Frame(int format, int height, int width, int rotation, int stride, int chromaStride, int step,
        boolean fullRange, ByteBuffer... planes) {
      check(height >= 1 && width >= 1, "height or width is less than 1");
      check(step >= 1, "a pixel stride that is less than 1");
      check(rotation >= 0 && rotation <= 270 && rotation % 90 == 0, "a rotation by none of 0, 90, 180 and 270");
      facts = new int[] {format, height, width, rotation, stride, chromaStride, chromaStride, step, 0};
      facts[8] = fullRange ? 1 : 0;
      this.planes = new ByteBuffer[planes.length];
      long rows = height, row = (long) width * BYTES[format];
      for (int i = 0; i < planes.length; i++) {
        if (i == 1) { // colours, at half of the height and width; a row of NV12 ends with both, of I420 with one
          rows = (rows + 1) / 2;
          row = ((width + 1L) / 2 - 1) * step + (planes.length == 2 ? 2 : 1);
        }
        long all = (rows - 1) * facts[4 + i] + row; // nothing need follow the last row
        ByteBuffer plane = this.planes[i] = direct(planes[i], "plane " + i);
        check(facts[4 + i] >= row, "a stride that is less than a row");
        check(plane.capacity() >= all, "plane " + i + " has " + plane.capacity() + " bytes of " + all);
      }
    }

    private static void check(boolean isFine, String wrong) {
      if (!isFine) throw new IllegalArgumentException("frame: " + wrong);
    }
  }

  private interface Work<T> { T run(); }

  private <T> T alone(Work<T> work) {
    if (!lock.tryLock()) throw new IllegalStateException("another thread is using this model or one of its streams");
    try {
      return work.run();
    } finally {
      lock.unlock();
    }
  }

  private static long isOpen(long[] handle) {
    if (handle[0] == 0) throw new IllegalStateException("this model or stream is closed");
    return handle[0];
  }

  /** In UTF-8, which JNI's own strings are not quite, and with a 0 at the end. */
  private static ByteBuffer bytes(String text, String name) {
    if (Objects.requireNonNull(text, name + ": null").indexOf('\0') >= 0) {
      throw new IllegalArgumentException(name + ": a character 0 is in it");
    }
    byte[] bytes = (text + '\0').getBytes(StandardCharsets.UTF_8);
    return ByteBuffer.allocateDirect(bytes.length).put(bytes);
  }

  /** What is between position and limit now, whatever becomes of them. */
  private static ByteBuffer direct(ByteBuffer buffer, String name) {
    if (!Objects.requireNonNull(buffer, name + ": null").isDirect()) {
      throw new IllegalArgumentException(name + ": not a direct buffer");
    }
    return buffer.slice();
  }

  /** Of so many numbers: the one before, if it fits. */
  private static ByteBuffer memory(ByteBuffer last, int count) {
    int bytes = Math.multiplyExact(4, count);
    boolean fits = last != null && last.capacity() == bytes;
    return fits ? last : ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
  }

  private static String line() { return new String(error(), StandardCharsets.UTF_8); }

  private static int check(int status) {
    if (status == BAD_ARGUMENT) throw new IllegalArgumentException(line());
    if (status == BUSY) throw new IllegalStateException(line());
    if (status == NO_MEMORY) throw new OutOfMemoryError(line());
    if (status != 0) throw new RuntimeException(line());
    return status;
  }

  private static native int loadLibrary(ByteBuffer path);
  private static native byte[] error();
  // These are not static: as long as one runs, this object is not collected, nor is `content`.
  private native int openModel(ByteBuffer path, ByteBuffer content, int descriptor, long offset, long length,
      int threads, long[] model, int[] size);
  private native int closeModel(long[] model);
  private native byte[] label(long model, int number);
  private native int openStream(long model, int start, long[] stream);
  private native int closeStream(long[] stream);
  private native int resetStream(long stream);
  private native int pushFrame(long stream, int[] frame, ByteBuffer[] planes, int[] answer);
  private native void copyAnswer(long stream, int[] detections, ByteBuffer mask, ByteBuffer classes);
}
